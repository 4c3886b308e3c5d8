"""Which artifact is the best one to ship to this device, and why each of the others is not."""

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
    def name(self) -> str:
        return self.result.target

    @property
    def size_bytes(self) -> int:
        return self.result.artifact.size_bytes if self.result.artifact else 0

    @property
    def error(self) -> float:
        """How far it is from the source, for two that are equal in all else; lower is truer."""
        fidelity = self.result.fidelity
        if fidelity is None or fidelity.is_exact:
            return float("-inf")
        return -fidelity.sqnr_db if fidelity.sqnr_db is not None else float("inf")


class _Field:
    """All candidates, and how each of them does beside each other one."""

    def __init__(self, candidates: Sequence[_Candidate], design: Design) -> None:
        self._candidates = candidates
        self._speedups = {
            (one.name, other.name): verdicts.compare(one.measurement, other.measurement, design)
            for one, other in permutations(candidates, 2)
        }

    @property
    def is_decided(self) -> bool:
        """Whether each has a verdict beside each other one; where one has none, which is the fastest is not known."""
        return all(speedup is not None and speedup.verdict is not None for speedup in self._speedups.values())

    def placed(self) -> Iterator[schema.Ranked]:
        """Yield each candidate with its place and what it has against the best."""
        best, *others = self._ordered()
        yield schema.Ranked(best.name, 1, "")
        for place, candidate in enumerate(others, start=2):
            speedup = self._speedups[candidate.name, best.name]
            if speedup is not None:  # always, since the field is decided
                reason = self._why_behind(candidate, best, speedup)
                facts = speedup.ratio, speedup.ci95, speedup.verdict, speedup.within, speedup.seconds_needed
                yield schema.Ranked(candidate.name, place, reason, *facts)

    def _ordered(self) -> list[_Candidate]:
        """Return the candidates from the best on: again and again the best of those that are left."""
        left, ordered = list(self._candidates), []
        while left:
            ordered.append(self._best(left))
            left.remove(ordered[-1])
        return ordered

    def _best(self, candidates: Sequence[_Candidate]) -> _Candidate:
        """Return, of those that none is faster than, the smallest, then the truest; the name decides between equals."""
        # Side by side, each of three may be faster than the next one; then all of them count.
        fastest = [one for one in candidates if not self._ahead(one, candidates)] or candidates
        return min(fastest, key=lambda one: (one.size_bytes, one.error, one.name))

    def _ahead(self, candidate: _Candidate, others: Sequence[_Candidate]) -> dict[str, verdicts.Speedup]:
        """Return which of the others are faster than a candidate, and what the candidate has beside each of them."""
        found = {o.name: self._speedups[candidate.name, o.name] for o in others if o is not candidate}
        return {name: speedup for name, speedup in found.items() if speedup and speedup.verdict == "slower"}

    def _why_behind(self, candidate: _Candidate, best: _Candidate, speedup: verdicts.Speedup) -> str:
        """Return in a few words what decided that a candidate is not the best."""
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
    """Return that a candidate cannot be told from the best one, how far apart they are, and what would decide."""
    facts = list(filter(None, [quantities.within(speedup.within)]))
    if speedup.seconds_needed:
        facts.append(f"--seconds {speedup.seconds_needed:g} would probably decide")
    return f"cannot be told from {best.name}" + (f" ({'; '.join(facts)})" if facts else "")


def rank(
    results: Sequence[schema.Result], measurements: Mapping[str, Measurement], design: Design, *, bound: Bound
) -> schema.Ranking:
    """Return the artifacts in the order in which one would ship them.

    The best is the fastest that is true enough and within its budget. Of those that none is faster than, which a stated
    smallest effect decides (see `verdicts`), the smallest is taken, then the truest. Where two of them have no verdict
    beside each other, there is no best.

    Args:
        results: The rows of a run; the source is a candidate like any other.
        measurements: What was measured, by target.
        design: What the verdicts depend on besides the samples.
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
    """Return why a row cannot be shipped or judged, or None."""
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


def _slower(speedup: verdicts.Speedup) -> str:
    """Return how much slower a candidate is than what it was compared with."""
    low, high = speedup.ci95 or (speedup.ratio, speedup.ratio)
    number, interval = quantities.ratio_range(1 / speedup.ratio, (1 / high, 1 / low))
    return f"{number} slower ({interval})"
