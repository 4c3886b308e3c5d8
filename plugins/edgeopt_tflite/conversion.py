"""Converts the normalised SavedModel to a float `.tflite` file, checked against the source."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from edgeopt.api import SourceModel

FLOAT_FILE = "float32.tflite"
CHECKED_FEEDS = 2
TOLERANCE = 1e-3
"""Maximum error, relative to the output's largest value: another order of float32 sums stays far below it."""
SELECT_OPS = re.compile(r"(?:TF Select|Flex|Custom) ops: ([\w, .]+)")


def make_float_file(source: SourceModel, feeds: Iterable[Mapping[str, Any]], log: Callable[[str], None]) -> Path:
    """Return the float32 file of `source`, made and checked once per run and shared by all tflite targets.

    Raises:
        ExportError: TensorFlow Lite lacks a kernel for an operator, or the file's outputs differ from the source's.
    """

    def build(folder: Path) -> None:
        saved_model = source.saved_model()
        log("converting to float32 TFLite")
        file = folder / FLOAT_FILE
        file.write_bytes(convert(saved_model))
        check(file, source, feeds)

    return source.once("tflite-float32", build) / FLOAT_FILE


def convert(saved_model: Path, settings: Mapping[str, Any] | None = None) -> bytes:
    """Run TensorFlow's converter.

    Args:
        saved_model: A folder with one signature, `serving_default`.
        settings: Attributes to set on the converter, for instance `optimizations`.

    Raises:
        ExportError: The converter rejects the model; the message names the operators if they are the reason.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    for name, value in (settings or {}).items():
        setattr(converter, name, value)
    try:
        return bytes(converter.convert())
    except Exception as error:  # the converter raises its own type, RuntimeError, ValueError and more
        raise _refusal(str(error)) from error


def check(file: Path, source: SourceModel, feeds: Iterable[Mapping[str, Any]]) -> None:
    """Compare the float file with the source on the first feeds.

    Raises:
        ExportError: An output differs by more than rounding; the message names it and the error.
    """
    from edgeopt_tflite import runner

    model = runner.load(file, 1)
    for feed in islice(feeds, CHECKED_FEEDS):
        model.feed(feed)
        model.invoke()
        compare(model.outputs(), source.infer(feed), "the float32 file")


def compare(outputs: Mapping[str, Any], reference: Mapping[str, Any], what: str) -> None:
    """Compare a model's outputs with those of the source.

    Raises:
        ExportError: An output is missing or differs by more than rounding; the message names it and the error.
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
        error = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
        largest = float(np.max(np.abs(wanted.astype(np.float64)), initial=0.0))
        worst = float(np.max(error, initial=0.0))
        if worst > TOLERANCE * largest:
            message = (
                f"{what} differs from the source in output {name!r}: by up to {worst:.3g}, values up to {largest:.3g}"
            )
            raise ExportError(message, hint=hint)


def _refusal(text: str) -> ExportError:
    """Return the error for a message of the converter."""
    named = {op.strip() for match in SELECT_OPS.finditer(text) for op in match.group(1).split(",")}
    operators = sorted(op.removeprefix("Flex") for op in named if op)
    if operators:
        return ExportError(
            f"TensorFlow Lite has no kernel for {', '.join(operators)}",
            hint="replace the layer that uses it with one that TensorFlow Lite knows, or ship the tf-gpu target",
        )
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return ExportError(f"the TensorFlow Lite converter failed: {line[:200]}", hint="the log holds the whole message")
