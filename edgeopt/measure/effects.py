"""Speed-up of one artifact over another in each launch of both."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeopt.measure.stats import NORMAL_975, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.measure.measurement import Launch, Measurement

QUIET_SHARE = 0.1
"""Share of a round's inferences that counts as undisturbed."""


@dataclass(frozen=True, slots=True)
class LaunchEffect:
    """How many times faster one artifact was than another in one launch of both."""

    effect: float
    """Logarithm of the speed-up: the median over the rounds."""
    error: float
    """Its standard error, from the noise of the rounds."""


def launch_effects(measurement: Measurement, other: Measurement) -> list[LaunchEffect]:
    """Return the effects of the launches in which both artifacts were measured."""
    others = {launch.number: launch for launch in other.launches}
    pairs = ((launch, others[launch.number]) for launch in measurement.launches if launch.number in others)
    rounds = (sorted(_round_effects(*pair)) for pair in pairs)
    return [LaunchEffect(statistics.median(effects), _median_error(effects)) for effects in rounds if effects]


def _round_effects(launch: Launch, other: Launch) -> list[float]:
    """Return the logarithm of the speed-up for every round that two launches share."""
    return [
        math.log(_quiet(theirs, len(ours)) / _quiet(ours, len(theirs)))
        for ours, theirs in zip(launch.rounds, other.rounds, strict=False)
        if ours and theirs
    ]


def _quiet(samples: Sequence[int], others: int) -> float:
    """Return the latency of undisturbed inferences in a round, compared with a round of `others` inferences."""
    # The fastest of five samples is faster than the fastest of four, so artifacts of about the same speed are compared
    # on equal numbers.
    count = others if others < len(samples) < 2 * others else len(samples)
    return quantile(sorted(samples[:count]), QUIET_SHARE)


def _median_error(ordered: Sequence[float]) -> float:
    """Return the standard error of the median of sorted values (J. W. McKean and R. M. Schrader, 1984).

    Assumes independent values.
    """
    count = len(ordered)
    below = max(0, math.floor((count + 1 - NORMAL_975 * math.sqrt(count)) / 2) - 1)
    above = count - 1 - below
    return (ordered[above] - ordered[below]) * math.sqrt(count) / (2 * (above - below)) if above > below else 0.0
