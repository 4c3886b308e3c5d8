"""Compare an artifact's outputs with the source model's, and detect degenerate ones.

All functions take outputs stacked over all evaluation feeds: output name to array, samples along the first axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeopt.contract import Array

BLOCK = 1 << 20
"""Number of values compared at once; it keeps the copies in double precision small."""
INT8_STEP = 1 / 256
"""One step of an int8 output that covers the probabilities from 0 to 1."""
SUM_TOLERANCE = 0.01
"""Maximum distance from 1 of the sum of a row of probabilities; a source model may compute in float16."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Similarity of outputs to those of the source model, over all evaluation feeds.

    With several outputs, `sqnr_db`, `cosine` and `max_abs` are each the worst of all outputs. Outputs without any error
    have `max_abs` 0 and `sqnr_db` None, since their ratio is infinite.
    """

    feeds: int
    """Number of compared samples."""
    top1_agreement: float | None
    """Share of samples with the same answer as the source model; None if the model is not a classifier."""
    sqnr_db: float | None
    """Power of the source's output over power of the error; None if either is zero or the error is infinite."""
    cosine: float | None
    """Cosine between all numbers of the two outputs; None if one is all zero or the error is infinite."""
    max_abs: float
    """Largest difference of two numbers; infinite if one of them is not finite and the other differs."""
    accuracy: float | None
    """Share of samples whose answer is the label; None without labels or if the model is not a classifier."""
    source_accuracy: float | None


@dataclass(frozen=True, slots=True)
class _Difference:
    """Sums over two arrays: power of the reference, the output and the error, their product, the largest error."""

    reference: float = 0.0
    output: float = 0.0
    error: float = 0.0
    product: float = 0.0
    largest: float = 0.0

    def __add__(self, other: _Difference) -> _Difference:
        return _Difference(
            self.reference + other.reference,
            self.output + other.output,
            self.error + other.error,
            self.product + other.product,
            max(self.largest, other.largest),
        )

    @property
    def sqnr_db(self) -> float | None:
        if self.error == 0 or self.reference == 0 or not math.isfinite(self.error):
            return None
        return 10 * math.log10(self.reference / self.error)

    @property
    def cosine(self) -> float | None:
        if self.reference == 0 or self.output == 0 or not math.isfinite(self.error):
            return None
        return 1.0 if self.error == 0 else self.product / math.sqrt(self.reference * self.output)


def compare(outputs: Mapping[str, Array], reference: Mapping[str, Array], labels: Array | None = None) -> Fidelity:
    """Compare `outputs` with `reference`.

    A model counts as a classifier if it has one output of floats, and that output holds

    * two or more numbers per sample, and either labels are given or each row of the source's is probabilities (none
      negative, their sum 1): the answer is the position of the largest number; or
    * one number between 0 and 1 per sample, and all labels are 0 or 1: the answer is whether it is above one half.

    Without labels, numbers other than probabilities could be logits or measurements, so nothing is claimed.

    Args:
        outputs: Outputs of the artifact.
        reference: Outputs of the source model for the same feeds.
        labels: One integer class per sample.

    Raises:
        ExportError: The outputs do not have the names and shapes of the source model's.
    """
    _check(outputs, reference)
    differences = [_difference(outputs[name], reference[name]) for name in sorted(reference)]
    cosines = [d.cosine for d in differences if d.cosine is not None]
    ratios = [d.sqnr_db for d in differences if d.sqnr_db is not None]
    top1, accuracy, source_accuracy = _answers(outputs, reference, labels)
    return Fidelity(
        feeds=len(labels) if labels is not None else max((len(array) for array in reference.values()), default=0),
        top1_agreement=top1,
        sqnr_db=min(ratios, default=None),
        cosine=min(cosines, default=None),
        max_abs=max((d.largest for d in differences), default=0.0),
        accuracy=accuracy,
        source_accuracy=source_accuracy,
    )


def degenerate(outputs: Mapping[str, Array], reference: Mapping[str, Array]) -> str | None:
    """Return in one sentence why outputs are degenerate, or None if they are not.

    Degenerate outputs are not finite, all zero, or the same for every sample, unlike the source model's.

    Raises:
        ExportError: The outputs do not have the names and shapes of the source model's.
    """
    _check(outputs, reference)
    reasons = (_why_degenerate(name, outputs[name], reference[name]) for name in sorted(reference))
    return next((reason for reason in reasons if reason), None)


def silent(reference: Mapping[str, Array]) -> str | None:
    """Return in one sentence why the source's own outputs prove nothing, or None.

    They prove nothing if they are not finite, zero everywhere, or the same for every feed.
    """
    reasons = (_why_silent(reference[name]) for name in sorted(reference))
    named = zip(sorted(reference), reasons, strict=True)
    return next((f"its output {name} is {reason}" for name, reason in named if reason), None)


def _why_silent(output: Any) -> str | None:
    """Return why one output of the source proves nothing, or None."""
    import numpy as np

    if not output.size:
        return None
    broken = int((~np.isfinite(output)).reshape(len(output), -1).any(1).sum())
    if broken:
        return f"NaN or infinite on {broken:,} of {len(output):,} feeds, on which nothing can be compared with it"
    if not output.any():
        return f"zero on all {len(output):,} feeds, so to agree with it proves nothing"
    if _is_constant(output):
        return f"the same on all {len(output):,} feeds, so to agree with it proves nothing"
    return None


def _check(outputs: Mapping[str, Array], reference: Mapping[str, Array]) -> None:
    """Raise unless the outputs have the names and shapes of the reference."""
    found, wanted = (
        ", ".join(f"{name} {tuple(arrays[name].shape)}" for name in sorted(arrays)) for arrays in (outputs, reference)
    )
    if found != wanted:
        raise ExportError(f"its outputs are not those of the source model: {found or 'none'}, not {wanted}")
    for name, array in reference.items():
        if (outputs[name].dtype.kind == "c") != (array.dtype.kind == "c"):
            raise ExportError(f"its output {name} is {outputs[name].dtype}, the source model's is {array.dtype}")


def _difference(output: Array, reference: Array) -> _Difference:
    """Return the sums over two arrays; equal infinities and pairs of NaN do not count as errors."""
    import numpy as np

    total = _Difference()
    for found, wanted in _blocks(output, reference):
        same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
        finite = np.isfinite(found) & np.isfinite(wanted)
        if not (same | finite).all():
            total += _Difference(error=math.inf, largest=math.inf)
        x, y = found[finite], wanted[finite]
        error = np.abs(x - y)
        total += _Difference(
            float(y @ y), float(x @ x), float(error @ error), float(x @ y), float(error.max(initial=0.0))
        )
    return total


def _blocks(output: Array, reference: Array) -> Iterator[tuple[Any, Any]]:
    """Yield flat blocks of two arrays of one shape, in double precision; a complex number counts as two."""
    flat = [array.reshape(-1) for array in (output, reference)]
    if reference.dtype.kind == "c":
        flat = [array.astype("complex128").view("float64") for array in flat]
    for start in range(0, flat[0].size, BLOCK):
        found, wanted = (array[start : start + BLOCK].astype("float64") for array in flat)
        yield found, wanted


def _answers(
    outputs: Mapping[str, Array], reference: Mapping[str, Array], labels: Array | None
) -> tuple[float | None, float | None, float | None]:
    """Return agreement, accuracy and the source's accuracy; None for each that is undefined."""
    if len(reference) != 1:
        return None, None, None
    wanted: Any
    ((name, wanted),) = reference.items()
    found: Any = outputs[name]
    if wanted.dtype.kind != "f" or not len(wanted):
        return None, None, None
    if wanted.ndim == 2 and wanted.shape[1] > 1 and (labels is not None or _are_probabilities(wanted)):  # noqa: PLR2004
        answers = found.argmax(1), wanted.argmax(1)
    elif labels is not None and _is_binary(wanted, labels):
        answers = found.reshape(-1) > 0.5, wanted.reshape(-1) > 0.5  # noqa: PLR2004
    else:
        return None, None, None
    agreement = float((answers[0] == answers[1]).mean())
    if labels is None or len(labels) != len(wanted):
        return agreement, None, None
    return agreement, float((answers[0] == labels).mean()), float((answers[1] == labels).mean())


def _are_probabilities(rows: Any) -> bool:
    """Return whether all numbers are 0 or more and every row sums up to 1."""
    sums = rows.sum(1, dtype="float64")
    return bool((rows >= 0).all() and (abs(sums - 1) <= SUM_TOLERANCE).all())


def _is_binary(wanted: Any, labels: Any) -> bool:
    """Return whether an output is the probability of one of two classes, and the labels are these two."""
    return bool(
        wanted.size == len(labels)
        and (wanted >= 0).all()
        and (wanted <= 1).all()
        and (labels >= 0).all()
        and (labels <= 1).all()
    )


def _why_degenerate(name: str, output: Any, reference: Any) -> str | None:
    """Return why one output is degenerate, or None."""
    import numpy as np

    if not output.size:
        return None
    broken = ~np.isfinite(output) & np.isfinite(reference)
    if broken.any():
        samples = int(broken.reshape(len(broken), -1).any(1).sum())
        return f"the output {name} is NaN or infinite on {samples:,} of {len(broken):,} feeds"
    if not output.any() and reference.any():
        return f"the output {name} is zero on all {len(output):,} feeds{_rounded_away(reference)}"
    if _is_constant(output) and not _is_constant(reference):
        return f"the output {name} is the same on all {len(output):,} feeds{_rounded_away(reference)}"
    return None


def _is_constant(output: Any) -> bool:
    """Return whether all samples, two or more, have the same output."""
    return len(output) > 1 and bool((output == output[:1]).all())


def _rounded_away(reference: Any) -> str:
    """Return the reason if the source's probabilities are too small for an int8 output, else an empty text."""
    if reference.ndim != 2 or not _are_probabilities(reference) or reference.max() >= INT8_STEP:  # noqa: PLR2004
        return ""
    return (
        f": every probability of the source model is below 1/256 (the largest is {reference.max():.4f}), the step of an"
        f" int8 output, as in an untrained network of {reference.shape[1]:,} classes; export trained weights"
    )
