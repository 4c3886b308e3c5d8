"""Converts the normalised SavedModel to a float OpenVINO model and checks it against the source."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError
from edgeopt_openvino.folding import fold_scales
from edgeopt_openvino.recurrence import fuse_loops
from edgeopt_openvino.saving import save
from edgeopt_openvino.toolkit import openvino

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from edgeopt.api import SourceModel

FLOAT_FILE = "float32.xml"
CHECKED_FEEDS = 2
TOLERANCE = 1e-3
"""Maximum error relative to the output's largest value; reordering float32 sums stays far below it."""
NO_RULE = re.compile(r"No conversion rule found for operations: ([\w, ./:]+)")
HINT = "OpenVINO changed the model; please report it with the model"


def make_float_file(source: SourceModel, feeds: Iterable[Mapping[str, Any]], log: Callable[[str], None]) -> Path:
    """Return the float32 model of `source`, built and checked once per run for all openvino targets.

    Raises:
        ExportError: OpenVINO does not support an operator, or the model's outputs differ from the source's.
    """

    def build(folder: Path) -> None:
        saved_model = source.saved_model()
        log("converting to OpenVINO")
        file = folder / FLOAT_FILE
        model = convert(saved_model)
        try:
            if fuse_loops(model):
                write(model, file)
                return
        except Exception as error:  # noqa: BLE001 - whatever fails with an operator, the loop still works
            log(f"the loops stay loops: {last_line(error)}")
            model = convert(saved_model)
        write(model, file)

    def write(model: Any, file: Path) -> None:
        fold_scales(model)
        model.set_rt_info("saved_model", ["conversion_parameters", "input_model"])  # a path on this machine
        save(model, file, [spec.name for spec in source.outputs])
        check(file, source, feeds)

    return source.once("openvino-float32", build) / FLOAT_FILE


def convert(saved_model: Path) -> Any:
    """Read a SavedModel with OpenVINO's own frontend, without importing TensorFlow.

    The path is relative to the parent folder, since OpenVINO ends a path at a comma.

    Raises:
        ExportError: OpenVINO rejects the model; the message names unsupported operators.
    """
    try:
        with _inside(saved_model.parent):
            return openvino().convert_model(saved_model.name)
    except Exception as error:
        raise _refusal(str(error)) from error


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Change to `folder` temporarily; `contextlib.chdir` requires Python 3.11."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def check(file: Path, source: SourceModel, feeds: Iterable[Mapping[str, Any]]) -> None:
    """Compare the float model with the source on the first feeds.

    Raises:
        ExportError: The model does not load, or an output differs by more than rounding; names it and the error.
    """
    from edgeopt_openvino import runner

    try:
        model = runner.load(file, 1)
    except Exception as error:
        raise _refusal(str(error)) from error
    for feed in islice(feeds, CHECKED_FEEDS):
        model.feed(feed)
        model.invoke()
        compare(model.outputs(), source.infer(feed))


def compare(outputs: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    """Compare the outputs of the float model with those of the source.

    Raises:
        ExportError: An output has a different shape or dtype, or differs by more than rounding.
    """
    import numpy as np

    for name, wanted in reference.items():
        found = outputs[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            forms = f"{found.dtype}{list(found.shape)}, the source {wanted.dtype}{list(wanted.shape)}"
            raise ExportError(f"the OpenVINO model gives {name!r} as {forms}", hint=HINT)
        exact = wanted.astype(np.float64)
        error = np.abs(found.astype(np.float64) - exact)
        largest, worst = float(np.max(np.abs(exact), initial=0.0)), float(np.max(error, initial=0.0))
        if not worst <= TOLERANCE * largest and not np.array_equal(found, wanted, equal_nan=True):
            size = f"by up to {worst:.3g}, values up to {largest:.3g}"
            raise ExportError(f"the OpenVINO model differs from the source in output {name!r}: {size}", hint=HINT)


def _refusal(text: str) -> ExportError:
    """Return the error for a message from OpenVINO."""
    named = {name.strip() for match in NO_RULE.finditer(text) for name in match.group(1).split(",")}
    if operators := ", ".join(sorted(filter(None, named))):
        hint = "replace the layer that uses it with one that OpenVINO knows, or ship the tf-gpu target"
        return ExportError(f"OpenVINO has no rule for {operators}", hint=hint)
    return ExportError(f"OpenVINO cannot take this model: {last_line(text)}", hint="the log holds the whole message")


def last_line(said: object) -> str:
    """Return the last line of OpenVINO's message, which holds the reason, cut to fit a table note."""
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    text = lines[-1] if lines else type(said).__name__
    return text if len(text) <= 160 else text[:157] + "..."  # noqa: PLR2004 - one line
