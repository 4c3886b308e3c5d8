"""Checks an exported model against the source on the CPU, so a GPU is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeopt.api import ExportRequest

LARGEST_ERROR = {"float32": 1e-3, "float16": 0.1}
"""Maximum rounding error, relative to the largest value in the source's output (or to 1, if larger)."""


def check(request: ExportRequest, folder: Path) -> float:
    """Run one calibration feed and return the largest absolute difference from the source's answer.

    Raises:
        ExportError: The model does not run, or its answer differs.
    """
    import numpy as np

    feed = next(iter(request.calibration))
    wanted = request.source.infer(feed)
    got = _run(folder, feed, xla=request.options.xla)
    if sorted(got) != sorted(wanted):
        raise ExportError(f"the exported model has the outputs {sorted(got)}, the source has {sorted(wanted)}")
    precision = request.options.precision
    largest = 0.0
    for name, reference in wanted.items():
        answer = got[name].astype(np.float64)
        expected = reference.astype(np.float64)
        if not np.array_equal(np.isfinite(answer), np.isfinite(expected)):
            raise _wrong(name, "numbers that are not finite", precision)
        error = float(np.max(np.abs(answer - expected), initial=0.0, where=np.isfinite(expected)))
        scale = float(np.max(np.abs(expected), initial=1.0, where=np.isfinite(expected)))
        if error > LARGEST_ERROR[precision] * scale:
            raise _wrong(name, f"an error of {error:.3g} where the source has up to {scale:.3g}", precision)
        largest = max(largest, error)
    return largest


def _run(folder: Path, feed: Mapping[str, Any], *, xla: bool) -> dict[str, Any]:
    """Return the exported model's answer to one feed."""
    import tensorflow as tf

    try:
        with tf.device("/CPU:0"):
            loaded = tf.saved_model.load(str(folder))
            answer = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in feed.items()})
            return {name: tensor.numpy() for name, tensor in answer.items()}
    except tf.errors.OpError as error:
        hint = "try --set xla=false: XLA may not know an operation of this model" if xla else "see the log"
        lines = [line for line in error.message.splitlines() if line.strip() and "execution error" not in line]
        text = lines[0][:300] if lines else type(error).__name__
        raise ExportError(f"the exported model does not run: {text}", hint=hint) from error


def _wrong(output: str, what: str, precision: str) -> ExportError:
    """Return the error for an answer that differs from the source's."""
    hint = "this model needs more range than float16 has: use precision=float32" if precision == "float16" else ""
    return ExportError(f"the exported model gives {what} in the output {output}", hint=hint)
