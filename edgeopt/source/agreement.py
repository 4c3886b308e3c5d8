"""Check the normalised model against the original on one seeded feed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from edgeopt.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgeopt.contract import Array, Feed, TensorSpec

    Answer = Callable[[Feed], Mapping[str, Array]]

TOLERANCE, TOLERANCE_HALF = 1e-3, 5e-2
"""Maximum difference, relative to the largest value of the output."""


def sample_feed(inputs: Sequence[TensorSpec], ranges: Mapping[str, tuple[float, float]], *, seed: int = 0) -> Feed:
    """Return one feed of seeded noise within the ranges.

    The order of the inputs does not matter.
    """
    import numpy as np

    draws = {spec.name: np.random.default_rng([seed, zlib.crc32(spec.name.encode())]) for spec in inputs}
    return {spec.name: _spread(spec, ranges[spec.name], draws[spec.name].random(spec.shape)) for spec in inputs}


def telling_feeds(inputs: Sequence[TensorSpec], ranges: Mapping[str, tuple[float, float]]) -> list[Feed]:
    """Return feeds that expose data-dependent output shapes: all low, all high, noise."""
    import numpy as np

    ends = [
        {spec.name: _spread(spec, ranges[spec.name], np.full(spec.shape, end)) for spec in inputs} for end in (0, 1)
    ]
    return [*ends, sample_feed(inputs, ranges), sample_feed(inputs, ranges, seed=1)]


def _spread(spec: TensorSpec, limits: tuple[float, float], unit: NDArray[np.float64]) -> Array:
    """Scale numbers between 0 and 1 to the limits of an input, both included."""
    import numpy as np

    low, high = limits
    values = low + unit * (high - low)
    if spec.dtype.startswith(("int", "uint", "bool")):
        values = np.minimum(np.floor(low + unit * (high - low + 1)), high)
    result: Array = values.astype(spec.dtype)
    return result


def check_agreement(normalised: Answer, original: Answer, feed: Feed, *, half: bool) -> list[str]:
    """Compare the normalised model with the original and return warnings.

    Args:
        normalised: Returns the normalised model's outputs for a feed.
        original: Returns the outputs of the user's model for a feed.
        feed: Input for both.
        half: Whether the original computes in 16 bits, so a difference is expected.

    Raises:
        BadInputError: A deterministic float32 model differs by more than `TOLERANCE`.
    """
    wanted = original(feed)
    worst = _difference(normalised(feed), wanted)
    if worst <= (TOLERANCE_HALF if half else TOLERANCE):
        return []
    if _difference(original(feed), wanted) > 0:
        return ["the model does not answer the same input twice in the same way; comparisons mean little"]
    if half:
        return [f"in float32 the model answers differently by up to {worst:.2g} of its largest value"]
    raise BadInputError(
        f"the model answers differently once it is made ready for export, by up to {worst:.2g} of its largest value",
        hint="it may depend on the size of the batch, or behave differently inside a tf.function",
    )


def _difference(outputs: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """Return the largest difference over all outputs, each relative to its largest expected value."""
    import numpy as np

    worst = 0.0
    for name, reference in wanted.items():
        exact = np.complex128 if np.iscomplexobj(reference) else np.float64
        expected, found = np.asarray(reference, exact), np.asarray(outputs[name], exact)
        if found.shape != expected.shape or not np.array_equal(np.isfinite(found), np.isfinite(expected)):
            return float("inf")
        finite = np.isfinite(expected)
        if finite.any():
            scale = max(float(np.abs(expected[finite]).max()), 1e-6)
            worst = max(worst, float(np.abs(found - expected)[finite].max()) / scale)
    return worst
