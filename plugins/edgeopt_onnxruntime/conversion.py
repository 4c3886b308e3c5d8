"""Converts the normalised SavedModel to a float ONNX file and checks it against the source."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError
from edgeopt_onnxruntime.canonical import canonicalise
from edgeopt_onnxruntime.graphs import copy, has_loop, nodes_of
from edgeopt_onnxruntime.recurrence import fuse_loops
from edgeopt_onnxruntime.rewriting import replace_unknown, settle_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from edgeopt.api import SourceModel

FLOAT_FILE = "float32.onnx"
OPSET = 18
"""The newest operator set that tf2onnx 1.17 writes."""
CHECKED_FEEDS = 2
TOLERANCE = 1e-3
"""Maximum error relative to the output's largest value; reordering float32 sums stays far below it."""
LARGEST_BYTES = 2**31 - 1
"""Maximum size of one file: a limit of protocol buffers."""
XLA_MARK = "_XlaMustCompile"
WIDENED = "session.x64quantprecision"
"""ONNX Runtime's setting that makes signed weights unsigned when a session starts: exact, and up to 1.4x slower without
VNNI. A file cannot contain it; each program must set it."""


def make_float_file(source: SourceModel, feeds: Iterable[Mapping[str, Any]], log: Callable[[str], None]) -> Path:
    """Return the float32 file of `source`, built and checked once per run for all targets.

    Raises:
        ExportError: ONNX lacks an operator for the model, or the file's outputs differ from the source's.
    """

    def build(folder: Path) -> None:
        saved_model = source.saved_model()
        log("converting to float32 ONNX")
        model = convert(saved_model)
        file = folder / FLOAT_FILE
        try:
            if (fused := _fused(model)) is not None:
                file.write_bytes(fused.SerializeToString(deterministic=True))
                check(file, source, feeds)
                return
        except Exception as error:  # noqa: BLE001 - whatever fails with an operator, the loop still works
            log(f"the loops stay loops: {first_line(error)}")
        file.write_bytes(model.SerializeToString(deterministic=True))
        check(file, source, feeds)

    return source.once("onnx-float32", build) / FLOAT_FILE


def convert(saved_model: Path) -> Any:
    """Return the ONNX model of a SavedModel, reproducibly.

    Args:
        saved_model: Folder with the single signature `serving_default`.

    Raises:
        ExportError: It cannot be written as ONNX; the message names unsupported operators.
    """
    try:
        model = _converted(saved_model)
    except Exception as error:  # tf2onnx raises any type
        raise ExportError(
            f"tf2onnx failed: {first_line(error)}", hint="the log holds the whole message; the tflite targets may work"
        ) from error
    replace_unknown(model.graph)
    unknown = sorted(_unknown(model.graph))
    if unknown:
        raise ExportError(
            f"ONNX has no operator for {', '.join(unknown)}",
            hint="replace the layer that uses it with one that ONNX knows, or ship a tflite or tf-gpu target",
        )
    if model.ByteSize() > LARGEST_BYTES:
        raise ExportError("the model is larger than the 2 GB of one ONNX file", hint="ship the tf-gpu target")
    settle_sizes(model)
    canonicalise(model)
    return model


def check(file: Path, source: SourceModel, feeds: Iterable[Mapping[str, Any]]) -> None:
    """Compare the float file with the source on the first feeds.

    Raises:
        ExportError: An output differs by more than rounding; names it and the error.
    """
    first = list(islice(feeds, CHECKED_FEEDS))
    try:
        answers = answers_of(file, first)
    except Exception as error:  # ONNX Runtime raises its own types
        raise ExportError(
            f"ONNX Runtime cannot run the converted model: {first_line(error)}",
            hint="the log holds the whole message; the tflite targets may work",
        ) from error
    for feed, answer in zip(first, answers, strict=True):
        compare(answer, source.infer(feed), "the float32 file")


def answers_of(file: Path, feeds: Iterable[Mapping[str, Any]], *, widened: bool = False) -> list[dict[str, Any]]:
    """Return a file's outputs for the feeds, run as on a device.

    Args:
        file: The ONNX file.
        feeds: The inputs.
        widened: Whether every x86 processor adds 8-bit products in 32 bits, as VNNI does.
    """
    from edgeopt_onnxruntime import runner

    model = runner.Model(str(file), 1, {WIDENED: "1"} if widened else {})
    answers = []
    for feed in feeds:
        model.feed(feed)
        model.invoke()
        answers.append(model.outputs())
    return answers


def compare(outputs: Mapping[str, Any], reference: Mapping[str, Any], what: str) -> None:
    """Compare a file's outputs with those of the source.

    Raises:
        ExportError: An output is missing, has another shape, or differs by more than rounding; names it and the error.
    """
    import numpy as np

    hint = "the converter changed the model; please report it with the model"
    for name, wanted in reference.items():
        if name not in outputs:
            raise ExportError(f"{what} has no output {name!r}, only {', '.join(outputs)}", hint=hint)
        found = outputs[name]
        if found.shape != wanted.shape:
            message = f"{what} gives {name!r} the shape {found.shape}, the source {wanted.shape}"
            raise ExportError(message, hint=hint)
        found, expected = found.astype(np.float64), wanted.astype(np.float64)
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            worst = float(np.max(np.where(same, 0.0, np.abs(found - expected)), initial=0.0))
        largest = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0))
        if not worst <= TOLERANCE * largest:  # NaN is not
            message = (
                f"{what} differs from the source in output {name!r}: by up to {worst:.3g}, values up to {largest:.3g}"
            )
            raise ExportError(message, hint=hint)


def _fused(model: Any) -> Any:
    """Return a copy of the model with recurrent loops as operators, or None without any."""
    if not has_loop(model.graph):
        return None
    fused = copy(model)
    if not fuse_loops(fused):
        return None
    canonicalise(fused)
    return fused


def _converted(saved_model: Path) -> Any:
    """Return tf2onnx's conversion of a SavedModel."""
    import tensorflow as tf
    from tf2onnx import tf_loader
    from tf2onnx.convert import _convert_common

    # Unsupported operators are found in the graph as well, and reported once.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with _without_xla(saved_model) as folder:
        graph, inputs, outputs, tables, names = tf_loader.from_saved_model(
            str(folder),
            None,
            None,
            "serve",
            ["serving_default"],
            return_initialized_tables=True,
            return_tensors_to_rename=True,
        )
    with tf.device("/cpu:0"):
        model, _ = _convert_common(
            graph,
            name="edgeopt",
            opset=OPSET,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=names,
            initialized_tables=tables,
        )
    return model


@contextmanager
def _without_xla(saved_model: Path) -> Iterator[Path]:
    """Yield a SavedModel without XLA marks on functions: tf2onnx does not look into marked ones.

    Keras marks its grouped convolution.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    parsed = SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    marks = 0
    for graph in (each.graph_def for each in parsed.meta_graphs):
        functions = graph.library.function
        for holder in (*graph.node, *functions, *(node for function in functions for node in function.node_def)):
            marks += holder.attr.pop(XLA_MARK, None) is not None
    if not marks:
        yield saved_model
        return
    with tempfile.TemporaryDirectory() as folder:
        for part in saved_model.iterdir():
            (Path(folder) / part.name).symlink_to(part.resolve())
        edited = Path(folder) / "saved_model.pb"
        edited.unlink()
        edited.write_bytes(parsed.SerializeToString(deterministic=True))
        yield Path(folder)


def _unknown(graph: Any) -> set[str]:
    """Return the operators missing from ONNX, which tf2onnx leaves under their TensorFlow names."""
    from onnx import defs

    return {node.op_type for node in nodes_of(graph) if not defs.has(node.op_type, OPSET, node.domain)}


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, cut to fit a table note."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if len(text) <= 160 else text[:157] + "..."  # noqa: PLR2004 - one line
