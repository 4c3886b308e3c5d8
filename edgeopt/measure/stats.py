"""From raw samples to numbers: intervals over launches, verdicts over rounds.

Every process has a bias of its own (where its memory lies, which cores it warmed), so samples of one process are no
independent evidence. A launch is one value; intervals are Student's, over launches.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeopt.measure.measurement import Launch, Measurement

Verdict: TypeAlias = Literal["faster", "slower", "same"]

SMALLEST_EFFECT = 0.01
"""A relative difference below this is `same`, however sure it is: nobody ships another file for it."""
CONFIDENCE = 0.95
PERCENTILE_CONFIDENCE = 0.99
TRIMMED_FROM = 5
"""From how many launches on the lowest and the highest are left out of a mean."""
QUIET_SHARE = 0.1
"""The part of a round's inferences that counts as undisturbed."""
CLEAR_SPEEDUP = math.log1p(SMALLEST_EFFECT)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one inference takes; a percentile is None where there are too few samples for it."""

    median_s: float
    ci95_s: tuple[float, float] | None
    """None after a single launch, which says nothing of how far others would lie apart."""
    mean_s: float
    min_s: float
    p90_s: float | None
    p99_s: float | None
    iterations: int
    rounds: int
    launches: int
    load_s: float
    first_s: float
    threads: int
    samples_s: tuple[float, ...]
    steady: bool


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times faster an artifact is than another; above 1 is faster."""

    ratio: float
    ci95: tuple[float, float] | None
    """None, and no verdict with it, after a single launch."""
    verdict: Verdict | None
    clear: bool
    """Whether another launch would hardly change the verdict."""


def summarise(measurement: Measurement) -> Latency | None:
    """Return the latency of a measurement, None when nothing was timed."""
    samples_s = tuple(ns / 1e9 for launch in measurement.launches for chunk in launch.rounds for ns in chunk)
    if not samples_s:
        return None
    median_s = statistics.median(samples_s)
    medians_s = [launch_median_s(launch) for launch in measurement.launches if any(launch.rounds)]
    _, half_s = interval(medians_s)
    ordered = sorted(samples_s)
    return Latency(
        median_s=median_s,
        ci95_s=(max(0.0, median_s - half_s), median_s + half_s) if math.isfinite(half_s) else None,
        mean_s=statistics.fmean(samples_s),
        min_s=ordered[0],
        p90_s=percentile(ordered, 0.90),
        p99_s=percentile(ordered, 0.99),
        iterations=len(samples_s),
        rounds=sum(1 for launch in measurement.launches for chunk in launch.rounds if chunk),
        launches=len(medians_s),
        load_s=measurement.launches[0].load_s,
        first_s=measurement.launches[0].first_s,
        threads=measurement.threads,
        samples_s=samples_s,
        steady=all(launch.steady for launch in measurement.launches),
    )


def compare(measurement: Measurement, source: Measurement) -> Speedup | None:
    """Return how many times faster `measurement` is than `source`, None where they share no round."""
    effects = [effect for effect in _launch_effects(measurement, source) if effect is not None]
    if not effects:
        return None
    mean, half = interval(effects)
    if not math.isfinite(half):
        return Speedup(math.exp(mean), None, None, clear=False)
    return Speedup(
        ratio=math.exp(mean),
        ci95=(math.exp(mean - half), math.exp(mean + half)),
        verdict=_judge(mean, half),
        clear=_is_clear(mean, half),
    )


def launch_median_s(launch: Launch) -> float:
    """Return the median of all samples of one launch."""
    return statistics.median(ns for chunk in launch.rounds for ns in chunk) / 1e9


def round_spread(measurement: Measurement) -> float:
    """Return how far apart the middle half of the rounds of a launch lies, relative to its median; the worst launch."""
    spreads = []
    for launch in measurement.launches:
        medians = [statistics.median(chunk) for chunk in launch.rounds if chunk]
        if len(medians) > 1:
            low, middle, high = statistics.quantiles(medians, n=4)
            spreads.append((high - low) / middle)
    return max(spreads, default=0.0)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return a percentile of sorted samples, or None where there are too few to be 99 % sure of it.

    Enough is what a two-sided tolerance interval from the smallest to the largest sample needs to hold that share of
    all inferences (S. S. Wilks, Determination of sample sizes for setting tolerance limits, 1941): 64 samples for 90 %,
    662 for 99 %.
    """
    count = len(ordered)
    unsure = count * share ** (count - 1) - (count - 1) * share**count
    if count == 0 or unsure > 1 - PERCENTILE_CONFIDENCE:
        return None
    return ordered[min(count - 1, math.ceil(share * count) - 1)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted samples, between two of them where it falls between."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values, one per launch, and half of its 95 % interval; infinite for a single value.

    From five values on the lowest and the highest are trimmed, since a launch that fell into a disturbance would spoil
    both; the interval pays for it with wider quantiles (J. W. Tukey and D. H. McLaughlin, 1963). For fewer values it is
    Student's.
    """
    count = len(values)
    if count < 2:  # noqa: PLR2004 - one value has no spread
        return values[0], math.inf
    cut = 1 if count >= TRIMMED_FROM else 0
    kept = sorted(values)[cut : count - cut]
    pulled_in = [min(max(value, kept[0]), kept[-1]) for value in values]
    degrees = len(kept) - 1
    error = statistics.stdev(pulled_in) * math.sqrt((count - 1) / (len(kept) * degrees))
    return statistics.fmean(kept), t_quantile((1 + CONFIDENCE) / 2, degrees) * error


def t_quantile(probability: float, freedom: int) -> float:
    """Return the value that Student's t with `freedom` degrees stays below with `probability` (0.5 or more)."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        low, high = high, high * 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def t_probability(value: float, freedom: int) -> float:
    """Return how probable it is that Student's t with `freedom` degrees stays below `value` (0 or more).

    For a whole number of degrees the integral is a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    angle = math.atan2(value, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = (cosine if odd else 1.0) if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + inside / 2


def _launch_effects(measurement: Measurement, source: Measurement) -> Iterable[float | None]:
    """Return, for each launch that both were in, the logarithm of the speed-up: the median over its rounds."""
    others = {launch.number: launch for launch in source.launches}
    for launch in measurement.launches:
        other = others.get(launch.number)
        effects = [
            math.log(quantile(sorted(theirs), QUIET_SHARE) / quantile(sorted(ours), QUIET_SHARE))
            for ours, theirs in zip(launch.rounds, other.rounds if other else (), strict=False)
            if ours and theirs
        ]
        yield statistics.median(effects) if effects else None


def _judge(mean: float, half: float) -> Verdict:
    """Return the verdict on a logarithm of a speed-up that is sure to within `half`."""
    if abs(mean) < CLEAR_SPEEDUP or abs(mean) <= half:
        return "same"
    return "faster" if mean > 0 else "slower"


def _is_clear(mean: float, half: float) -> bool:
    """Whether the interval lies wholly outside or wholly inside of the smallest effect."""
    return abs(mean) - half > CLEAR_SPEEDUP or abs(mean) + half < CLEAR_SPEEDUP
