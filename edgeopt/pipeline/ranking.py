"""Which artifact is the best one to ship to this device, and why each of the others is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeopt.measure import stats
from edgeopt.report import quantities, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeopt.measure.measurement import Measurement

DEFAULT_MIN_AGREEMENT = 0.98
DEFAULT_MIN_SQNR_DB = 20.0
"""A signal ten times as large as the error."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How true an artifact must be to be shipped at all; None asks for nothing.

    Where the user states neither, each model is judged by what it can be judged by: classifiers by their agreement,
    others by their SQNR.
    """

    min_agreement: float | None = None
    min_sqnr_db: float | None = None

    @property
    def is_stated(self) -> bool:
        """Whether the user said what to ask for."""
        return self.min_agreement is not None or self.min_sqnr_db is not None

    def for_model(self, results: Sequence[schema.Result]) -> Bound:
        """Return what is asked of the artifacts of one model."""
        if self.is_stated:
            return self
        if any(r.fidelity is not None and r.fidelity.top1_agreement is not None for r in results):
            return Bound(min_agreement=DEFAULT_MIN_AGREEMENT)
        return Bound(min_sqnr_db=DEFAULT_MIN_SQNR_DB)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An artifact that may be shipped: it is true enough, and its time is known."""

    result: schema.Result
    measurement: Measurement

    @property
    def size_bytes(self) -> int:
        return self.result.artifact.size_bytes if self.result.artifact else 0

    def speedup_over(self, other: _Candidate) -> stats.Speedup | None:
        return stats.compare(self.measurement, other.measurement)

    @property
    def error(self) -> float:
        """How far it is from the source, for two that are equal in all else; lower is truer."""
        fidelity = self.result.fidelity
        if fidelity is None or fidelity.is_exact:
            return float("-inf")
        return -fidelity.sqnr_db if fidelity.sqnr_db is not None else float("inf")


def rank(results: Sequence[schema.Result], measurements: Mapping[str, Measurement], bound: Bound) -> schema.Ranking:
    """Return the artifacts in the order in which one would ship them.

    The best is the fastest that is true enough. Of those that are as fast, which a stated smallest effect decides (see
    `stats`), the smallest is taken, then the truest.

    Args:
        results: The rows of a run; the source is a candidate like any other.
        measurements: What was measured, by target.
        bound: How true an artifact must be.
    """
    asked = bound.for_model(results)
    candidates, losers = [], []
    for result in results:
        if result.target == schema.SOURCE_TARGET and result.error is None and result.untimed:
            continue  # nobody wanted to ship it, and its own row says why it was not timed
        reason = _why_no_candidate(result, measurements.get(result.target), asked)
        if reason is None:
            candidates.append(_Candidate(result, measurements[result.target]))
        else:
            losers.append(schema.Ranked(result.target, None, reason))
    ordered = _ordered(candidates)
    return schema.Ranking(
        min_top1_agreement=asked.min_agreement,
        min_sqnr_db=asked.min_sqnr_db,
        best=ordered[0].result.target if ordered else None,
        order=(*_placed(ordered), *losers),
    )


def _why_no_candidate(result: schema.Result, measurement: Measurement | None, bound: Bound) -> str | None:
    """Return why a row cannot be shipped or judged, or None."""
    if result.error is not None:
        return f"{result.status}: {result.error.message}"
    if result.native is not None:
        return "timed by itself, so it was not compared"
    if result.latency is None or measurement is None:
        return f"not timed: {result.untimed}" if result.untimed else "not timed"
    if result.target == schema.SOURCE_TARGET:
        return None
    return next(_misses(result.fidelity, bound), None)


def _misses(fidelity: schema.Fidelity | None, bound: Bound) -> Iterator[str]:
    """Yield where an artifact is less true than what is asked for."""
    if fidelity is None:
        yield "not compared with the source"
        return
    if bound.min_agreement is not None:
        wanted = f"wanted at least {100 * bound.min_agreement:g} %"
        if fidelity.top1_agreement is None:
            yield f"has no best class whose agreement could be told, {wanted}"
        elif fidelity.top1_agreement < bound.min_agreement:
            yield f"agrees on {quantities.percent(fidelity.top1_agreement, fidelity.feeds)}, {wanted}"
    if bound.min_sqnr_db is not None and not fidelity.is_exact:
        wanted = f"wanted at least {bound.min_sqnr_db:g} dB"
        if fidelity.sqnr_db is None:
            yield f"has no SQNR, {wanted}"
        elif fidelity.sqnr_db < bound.min_sqnr_db:
            yield f"has an SQNR of {quantities.decibel(fidelity.sqnr_db)}, {wanted}"


def _ordered(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the candidates from the best on: again and again the best of those that are left."""
    left, ordered = list(candidates), []
    while left:
        best = _best(left)
        ordered.append(best)
        left.remove(best)
    return ordered


def _best(candidates: Sequence[_Candidate]) -> _Candidate:
    """Return the fastest; of those as fast as it the smallest, then the truest."""
    fastest = min(candidates, key=lambda c: c.result.latency.median_s if c.result.latency else float("inf"))
    for other in candidates:  # side by side says more than two medians
        speedup = other.speedup_over(fastest)
        if speedup is not None and speedup.verdict == "faster":
            fastest = other
    as_fast = [c for c in candidates if c is fastest or _verdict(fastest, c) in ("same", None)]
    return min(as_fast, key=lambda c: (c.size_bytes, c.error, c.result.target))


def _verdict(first: _Candidate, second: _Candidate) -> stats.Verdict | None:
    speedup = first.speedup_over(second)
    return None if speedup is None else speedup.verdict


def _placed(ordered: Sequence[_Candidate]) -> Iterator[schema.Ranked]:
    """Yield each candidate with its place and what it has against the best."""
    for place, candidate in enumerate(ordered, start=1):
        if place == 1:
            yield schema.Ranked(candidate.result.target, place, "")
        else:
            speedup = candidate.speedup_over(ordered[0])
            ratio, ci95 = (speedup.ratio, speedup.ci95) if speedup else (None, None)
            yield schema.Ranked(
                candidate.result.target, place, _why_behind(candidate, ordered[0], speedup), ratio, ci95
            )


def _why_behind(candidate: _Candidate, best: _Candidate, speedup: stats.Speedup | None) -> str:
    """Return in a few words why a candidate is not the best."""
    if speedup is not None and speedup.verdict == "slower" and speedup.ci95 is not None:
        low, high = speedup.ci95
        number, interval = quantities.ratio_range(1 / speedup.ratio, (1 / high, 1 / low))
        return f"{number} slower ({interval})"
    ratio = candidate.size_bytes / best.size_bytes if best.size_bytes else 1.0
    if ratio > 1:
        return f"not measurably faster, and {quantities.ratio(ratio)} bigger"
    return "as fast and as small, and less true"
