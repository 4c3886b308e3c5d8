"""Rank the artifacts for shipping to this device, and explain why others are not the best."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from edgeopt.measure import verdicts
from edgeopt.report import quantities, schema
from edgeopt.report.sentences import UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeopt.measure.measurement import Measurement
    from edgeopt.measure.verdicts import Design

DEFAULT_MIN_AGREEMENT = 0.98
DEFAULT_MIN_SQNR_DB = 20.0
"""The signal is ten times as large as the error."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Minimum accuracy of an artifact to be shipped; None sets no minimum.

    If the user states neither, the default for classifiers is a minimum agreement, for other models a minimum SQNR.
    """

    min_agreement: float | None = None
    min_sqnr_db: float | None = None

    @property
    def is_stated(self) -> bool:
        """Whether the user stated a bound."""
        return self.min_agreement is not None or self.min_sqnr_db is not None

    def for_model(self, results: Sequence[schema.Result]) -> Bound:
        """Return the bound for the artifacts of one model."""
        if self.is_stated:
            return self
        if any(r.fidelity is not None and r.fidelity.top1_agreement is not None for r in results):
            return Bound(min_agreement=DEFAULT_MIN_AGREEMENT)
        return Bound(min_sqnr_db=DEFAULT_MIN_SQNR_DB)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An artifact that may be shipped: it meets the bound, and its time is known."""

    result: schema.Result
    measurement: Measurement

    @property
    def name(self) -> str:
        return self.result.target

    @property
    def size_bytes(self) -> int:
        return self.result.artifact.size_bytes if self.result.artifact else 0

    @property
    def error(self) -> float:
        """Distance from the source, to break ties; lower is more accurate."""
        fidelity = self.result.fidelity
        if fidelity is None or fidelity.is_exact:
            return float("-inf")
        return -fidelity.sqnr_db if fidelity.sqnr_db is not None else float("inf")


class _Field:
    """All candidates, and the speed-up of each over every other."""

    def __init__(self, candidates: Sequence[_Candidate], design: Design) -> None:
        self._candidates = candidates
        self._speedups = {
            (one.name, other.name): verdicts.compare(one.measurement, other.measurement, design)
            for one, other in permutations(candidates, 2)
        }

    @property
    def is_decided(self) -> bool:
        """Whether every pair has a verdict; otherwise, the fastest is unknown."""
        return all(speedup is not None and speedup.verdict is not None for speedup in self._speedups.values())

    def placed(self) -> Iterator[schema.Ranked]:
        """Yield each candidate with its place and its comparison with the best."""
        best, *others = self._ordered()
        yield schema.Ranked(best.name, 1, "")
        for place, candidate in enumerate(others, start=2):
            speedup = self._speedups[candidate.name, best.name]
            if speedup is not None:  # always, since the field is decided
                reason = self._why_behind(candidate, best, speedup)
                facts = speedup.ratio, speedup.ci95, speedup.verdict, speedup.within, speedup.seconds_needed
                yield schema.Ranked(candidate.name, place, reason, *facts)

    def _ordered(self) -> list[_Candidate]:
        """Return the candidates from best to worst, by repeatedly taking the best of the rest."""
        left, ordered = list(self._candidates), []
        while left:
            ordered.append(self._best(left))
            left.remove(ordered[-1])
        return ordered

    def _best(self, candidates: Sequence[_Candidate]) -> _Candidate:
        """Return the smallest of the fastest; ties go to the most accurate, then to the first name."""
        # In pairwise comparisons, each of three may be faster than the next; then all of them count as fastest.
        fastest = [one for one in candidates if not self._ahead(one, candidates)] or candidates
        return min(fastest, key=lambda one: (one.size_bytes, one.error, one.name))

    def _ahead(self, candidate: _Candidate, others: Sequence[_Candidate]) -> dict[str, verdicts.Speedup]:
        """Return the others that are faster than a candidate, each with the candidate's speed-up over it."""
        found = {o.name: self._speedups[candidate.name, o.name] for o in others if o is not candidate}
        return {name: speedup for name, speedup in found.items() if speedup and speedup.verdict == "slower"}

    def _why_behind(self, candidate: _Candidate, best: _Candidate, speedup: verdicts.Speedup) -> str:
        """Return a short reason why a candidate is not the best."""
        ahead = self._ahead(candidate, self._candidates)
        if best.name in ahead:
            return _slower(speedup)
        if ahead:
            first = min(ahead, key=lambda name: ahead[name].ratio)
            return f"{_slower(ahead[first])} than {first}"
        beside = f"as fast as {best.name}" if speedup.verdict == "same" else _undecided(speedup, best)
        if candidate.size_bytes > best.size_bytes:
            ratio = quantities.ratio(candidate.size_bytes / best.size_bytes) if best.size_bytes else ""
            return f"{beside}, and {ratio} bigger"
        if candidate.error > best.error:
            return f"{beside}, not smaller, and less accurate"
        return f"{beside}, neither smaller nor more accurate; the name decides between equals"


def _undecided(speedup: verdicts.Speedup, best: _Candidate) -> str:
    """Describe an undecided comparison: the possible difference, and the `--seconds` to decide it."""
    facts = list(filter(None, [quantities.within(speedup.within)]))
    if speedup.seconds_needed:
        facts.append(f"--seconds {speedup.seconds_needed:g} would probably decide")
    return f"cannot be told from {best.name}" + (f" ({'; '.join(facts)})" if facts else "")


def rank(
    results: Sequence[schema.Result], measurements: Mapping[str, Measurement], design: Design, *, bound: Bound
) -> schema.Ranking:
    """Return the artifacts by preference for shipping.

    The best is the fastest that meets the bound and its budget. If several are not measurably slower than any other,
    judged by a stated smallest effect (see `verdicts`), the smallest of them wins, then the most accurate. If any two
    candidates lack a verdict, the best is unknown.

    Args:
        results: The rows of a run; the source is a candidate as well, but exempt from the bound.
        measurements: The measurements by target.
        design: The session's inputs to the verdicts besides the samples.
        bound: The minimum accuracy of an artifact.
    """
    asked = bound.for_model(results)
    candidates, losers = [], []
    for result in results:
        if result.target == schema.SOURCE_TARGET and result.error is None and result.untimed:
            continue  # it is not a candidate for shipping, and its own row says why it was not timed
        reason = _why_no_candidate(result, measurements.get(result.target), asked)
        if reason is None:
            candidates.append(_Candidate(result, measurements[result.target]))
        else:
            losers.append(schema.Ranked(result.target, None, reason))
    field = _Field(candidates, design)
    placed = tuple(field.placed()) if candidates and field.is_decided else ()
    undecided = () if placed else (schema.Ranked(one.name, None, UNDECIDED) for one in candidates)
    return schema.Ranking(
        min_top1_agreement=asked.min_agreement,
        min_sqnr_db=asked.min_sqnr_db,
        best=placed[0].target if placed else None,
        order=(*placed, *undecided, *losers),
    )


def _why_no_candidate(result: schema.Result, measurement: Measurement | None, bound: Bound) -> str | None:
    """Return why a row cannot be shipped or judged, or None if it can."""
    if result.error is not None:
        return f"{result.status}: {result.error.message}"
    if result.native is not None:
        return "timed by itself, so it was not compared"
    if result.latency is None or measurement is None:
        return f"not timed: {result.untimed}" if result.untimed else "not timed"
    if result.is_over_budget:
        return "over its budget"
    if result.target == schema.SOURCE_TARGET:
        return None
    return next(_misses(result.fidelity, bound), None)


def _misses(fidelity: schema.Fidelity | None, bound: Bound) -> Iterator[str]:
    """Yield the reasons why an artifact does not meet the bound."""
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


def _slower(speedup: verdicts.Speedup) -> str:
    """Describe how much slower a candidate is than the other artifact, with the interval."""
    low, high = speedup.ci95 or (speedup.ratio, speedup.ratio)
    number, interval = quantities.ratio_range(1 / speedup.ratio, (1 / high, 1 / low))
    return f"{number} slower ({interval})"
