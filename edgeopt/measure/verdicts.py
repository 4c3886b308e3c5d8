"""Compares two artifacts of one session: how many times faster one is, and with which confidence.

A launch of both is one value. The session looks at its values after launches 3, 5, 8, 13 and so on, and stops at the
first clear verdict. Every look has its own share of the error rate, so all looks together keep it (a group-sequential
test; K. K. G. Lan and D. L. DeMets, Discrete sequential boundaries for clinical trials, 1983). The method, its
sources and its measured error rates are in `docs/how-numbers-are-made.md`.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgeopt.measure.effects import launch_effects
from edgeopt.measure.stats import CONFIDENCE, TRIMMED_FROM, mean_and_error, t_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.measure.control import Control
    from edgeopt.measure.effects import LaunchEffect
    from edgeopt.measure.measurement import Measurement

Verdict: TypeAlias = Literal["faster", "slower", "same", "unclear"]

SMALLEST_EFFECT = 0.01
"""Smallest relative difference that justifies shipping another file."""
LAUNCH_S = 0.25
"""Time that a launch measures each artifact, in seconds, while there are fewer than `MOST_LAUNCHES`."""
MIN_LAUNCHES, MOST_LAUNCHES = 3, 20
ERROR_RATE = 0.01
"""Highest probability of a wrong verdict on one pair, over all looks."""
TABLE_ERROR_RATE = 0.05
"""Highest probability of any wrong verdict in a run; with more than five pairs, each pair gets an equal share."""
PROCESS_BIAS = 0.005
"""Standard deviation of the relative difference of two processes of one file, without the noise of rounds."""
PRIOR_LAUNCHES = (4, 1)
"""Weight of the expected launch noise, in launches: before and after extremes are trimmed."""
MOST_WIDENING = 0.1
"""Maximum relative widening of the 95 % interval after an early stop; see `_widened`."""
MOST_SECONDS = 60.0
"""Maximum `--seconds` suggested to reach a verdict."""
_SMALLEST_LOG = math.log1p(SMALLEST_EFFECT)


@dataclass(frozen=True, slots=True)
class Design:
    """Everything besides the samples that the verdicts of one session depend on."""

    max_launches: int
    pairs: int = 1
    """Number of compared pairs of artifacts."""
    control: Control | None = None
    cut: int = 0
    """Number of launches that count twice because a lost connection or an interruption split them."""
    launch_wall_s: float = 0.0
    """Wall time of a launch of all artifacts, including loading and warm-up; 0 if unknown."""

    @property
    def looks(self) -> tuple[int, ...]:
        """Launch counts at which the session looks for verdicts: Fibonacci numbers from 3, and the last launch."""
        counts, following = [MIN_LAUNCHES], 5
        while following < self.max_launches:
            counts.append(following)
            following = counts[-1] + counts[-2]
        return (*counts, self.max_launches) if self.max_launches > MIN_LAUNCHES else (MIN_LAUNCHES,)

    def error_rate(self, launches: int) -> float:
        """Return the allowed probability of a wrong verdict at the look after `launches` launches.

        The shares of the looks grow with the square of the number of launches. An interruption uses up the share of
        the look that would have come next.
        """
        looks = self.looks
        look = next((count for count in looks if count >= launches - self.cut), looks[-1])
        rate = min(ERROR_RATE, TABLE_ERROR_RATE / self.pairs)
        return rate * look**2 / sum(count**2 for count in looks)


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times faster an artifact is than another; above 1 means faster."""

    ratio: float
    ci95: tuple[float, float] | None
    """None after a single launch, as is the verdict."""
    verdict: Verdict | None
    margin: float = math.inf
    """Half-width of the interval that the verdict rests on; a logarithm. Wider than `ci95`: it holds for all looks."""
    seconds_needed: float | None = None
    """`--seconds` that would probably decide an unclear verdict; None if decided or too long."""
    takes_s: float | None = None
    """Approximate total time of that measurement; None if unknown."""

    @property
    def is_decided(self) -> bool:
        """Whether more launches are unnecessary."""
        return self.verdict not in (None, "unclear")

    @property
    def within(self) -> float | None:
        """The largest relative difference inside the interval of the verdict; None after a single launch."""
        return math.expm1(abs(math.log(self.ratio)) + self.margin) if math.isfinite(self.margin) else None


def compare(measurement: Measurement, other: Measurement, design: Design) -> Speedup | None:
    """Return how many times faster `measurement` is than `other`, None if they share no round.

    Args:
        measurement: The artifact.
        other: The artifact it is compared with, from the same session.
        design: The session's design.
    """
    launches = launch_effects(measurement, other)
    return judge(launches, design) if launches else None


def judge(launches: Sequence[LaunchEffect], design: Design) -> Speedup:
    """Return the speed-up shown by one or more launches."""
    mean, error, freedom = mean_and_error([launch.effect for launch in launches])
    if freedom == 0:
        return Speedup(math.exp(mean), None, None)
    count = len(launches)
    bias = 2 * design.control.bias if design.control else 0.0
    half = math.hypot(_t((1 + CONFIDENCE) / 2, freedom) * error, bias)
    margin = max(half * (1 + MOST_WIDENING), math.hypot(_look_margin(launches, error, freedom, design), bias))
    verdict = _verdict(mean, margin)
    if verdict in ("faster", "slower") and count < design.max_launches:
        half = _widened(half, mean, margin)
    ci95 = (math.exp(mean - half), math.exp(mean + half))
    wanted = _launches_needed(count, mean, margin, bias) if verdict == "unclear" else None
    return Speedup(math.exp(mean), ci95, verdict, margin, *_time_needed(wanted, design))


def _look_margin(launches: Sequence[LaunchEffect], error: float, freedom: int, design: Design) -> float:
    """Return the half-width of the interval of one look, from launch noise alone.

    Three launches show little of that noise, so prior knowledge counts as a few more launches (a scaled inverse
    chi-squared prior): the bias of a process, and the noise of rounds, which every launch shows by itself.
    """
    count = len(launches)
    prior = PRIOR_LAUNCHES[count >= TRIMMED_FROM]
    expected = PROCESS_BIAS**2 + statistics.fmean(launch.error**2 for launch in launches)
    variance = (prior * expected + freedom * error**2 * count) / (prior + freedom)
    return _t(1 - design.error_rate(count) / 2, prior + freedom) * math.sqrt(variance / count)


def _widened(half: float, mean: float, margin: float) -> float:
    """Return the half-width of the 95 % interval of a session that stopped at a difference.

    The closer the difference is to the margin, the more often the session stopped because it looked larger than it is.
    The factor is chosen so that simulated sessions of all recorded machines have a coverage of 93 to 97 %.
    """
    return half * (1 + MOST_WIDENING * margin / abs(mean))


def _verdict(mean: float, margin: float) -> Verdict:
    """Return the verdict on the logarithm of a speed-up whose interval is `mean` ± `margin`."""
    if abs(mean) + margin <= _SMALLEST_LOG:
        return "same"
    if abs(mean) < _SMALLEST_LOG or abs(mean) <= margin:
        return "unclear"
    return "faster" if mean > 0 else "slower"


def _launches_needed(count: int, mean: float, margin: float, bias: float) -> float:
    """Return how many launches would decide an unclear verdict; they reduce the noise, not the bias."""
    effect = abs(mean)
    target = effect if effect >= _SMALLEST_LOG else _SMALLEST_LOG - effect
    if target <= bias:
        return math.inf
    return count * (margin**2 - bias**2) / (target**2 - bias**2)


def _time_needed(launches: float | None, design: Design) -> tuple[float | None, float | None]:
    """Return the `--seconds` for `launches` launches, and their total time; None if too long or unknown."""
    if launches is None or launches * LAUNCH_S > MOST_SECONDS:
        return None, None
    wanted = math.ceil(max(launches, design.max_launches + 1))
    takes_s = min(wanted, MOST_LAUNCHES) * design.launch_wall_s
    # Beyond the maximum number of launches, each takes longer; it times a pair and its control.
    takes_s += 3 * LAUNCH_S * max(0, wanted - MOST_LAUNCHES)
    return float(math.ceil(wanted * LAUNCH_S)), takes_s if design.launch_wall_s else None


@cache
def _t(probability: float, freedom: int) -> float:
    return t_quantile(probability, freedom)
