"""Compute latencies, percentiles, and intervals over launches from raw samples.

Every process has its own bias (memory layout, warmed cores), so samples of one process are not independent evidence. A
launch is one value; intervals are Student's, over launches.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.measure.measurement import Launch, Measurement

CONFIDENCE = 0.95
NORMAL_975 = 1.959964
"""The 97.5 % quantile of the normal distribution."""
PERCENTILE_CONFIDENCE = 0.99
TRIMMED_FROM = 5
"""Minimum number of launches for a mean without the lowest and the highest."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of one inference; a percentile is None if there are too few samples for it."""

    median_s: float
    ci95_s: tuple[float, float] | None
    """None after a single launch, which does not show the spread between launches."""
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


def summarise(measurement: Measurement) -> Latency | None:
    """Return the latency of a measurement, None if nothing was timed."""
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


def launch_median_s(launch: Launch) -> float:
    """Return the median of all samples of one launch."""
    return statistics.median(ns for chunk in launch.rounds for ns in chunk) / 1e9


def round_spread(measurement: Measurement) -> float:
    """Return the interquartile range of the round medians, relative to their median, in the worst launch."""
    spreads = []
    for launch in measurement.launches:
        medians = [statistics.median(chunk) for chunk in launch.rounds if chunk]
        if len(medians) > 1:
            low, middle, high = statistics.quantiles(medians, n=4)
            spreads.append((high - low) / middle)
    return max(spreads, default=0.0)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return a percentile of sorted samples, None if too few to be 99 % sure of it.

    The minimum is the number at which a two-sided tolerance interval from the smallest to the largest sample holds that
    share of all inferences (S. S. Wilks, Determination of sample sizes for setting tolerance limits, 1941): 64 samples
    for 90 %, 662 for 99 %.
    """
    count = len(ordered)
    unsure = count * share ** (count - 1) - (count - 1) * share**count
    if count == 0 or unsure > 1 - PERCENTILE_CONFIDENCE:
        return None
    return ordered[min(count - 1, math.ceil(share * count) - 1)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted samples, by linear interpolation."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values, one per launch, and half of its 95 % interval; infinite for a single value."""
    mean, error, freedom = mean_and_error(values)
    return mean, t_quantile((1 + CONFIDENCE) / 2, freedom) * error if freedom else math.inf


def mean_and_error(values: Sequence[float]) -> tuple[float, float, int]:
    """Return the mean of values, one per launch, its standard error, and the degrees of freedom for Student's t.

    With five values or more, the lowest and the highest are trimmed, since a disturbed launch would spoil mean and
    error; the price is fewer degrees of freedom (J. W. Tukey and D. H. McLaughlin, 1963). A single value has zero
    degrees of freedom.
    """
    count = len(values)
    if count == 1:
        return values[0], math.inf, 0
    cut = 1 if count >= TRIMMED_FROM else 0
    kept = sorted(values)[cut : count - cut]
    pulled_in = [min(max(value, kept[0]), kept[-1]) for value in values]
    degrees = len(kept) - 1
    middle = statistics.fmean(pulled_in)
    spread = math.fsum((value - middle) ** 2 for value in pulled_in)
    return statistics.fmean(kept), math.sqrt(spread / (len(kept) * degrees)), degrees


def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t with `freedom` degrees at `probability` (0.5 or more)."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        low, high = high, high * 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def t_probability(value: float, freedom: int) -> float:
    """Return the probability that Student's t with `freedom` degrees is below `value` (0 or more).

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
