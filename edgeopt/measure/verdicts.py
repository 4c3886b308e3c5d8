"""Compares two artifacts of one session: how many times faster one is, and what can be said of it with confidence.

A launch of both is one value. The session looks at its values after launches 3, 5, 8, 13 and so on, and ends at the
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

from edgeopt.measure.stats import CONFIDENCE, mean_and_error, quantile, t_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.measure.measurement import Launch, Measurement

Verdict: TypeAlias = Literal["faster", "slower", "same", "unclear"]

SMALLEST_EFFECT = 0.01
"""A smaller relative difference is no reason to ship another file: `same`, once that much is certain."""
LAUNCH_S = 0.25
"""How long a launch times each artifact, in seconds, if there is time for all launches."""
MIN_LAUNCHES = 3
ERROR_RATE = 0.01
"""Highest probability of a wrong verdict on one pair, over all looks."""
TABLE_ERROR_RATE = 0.05
"""Highest probability of any wrong verdict in a run; with more than five pairs, each pair gets an equal share."""
QUIET_SHARE = 0.1
"""The part of a round's inferences that counts as undisturbed."""
PROCESS_BIAS = 0.005
"""By how much two processes of one file differ on a machine without noise (standard deviation, relative)."""
PRIOR_LAUNCHES = 4
"""How many launches the expected noise of a launch is worth; see `_error_of_one_launch`."""
EARLY_STOP = 0.1
"""By how much the 95 % interval is widened at most if a session stops early; see `_widened`."""
MOST_SECONDS = 60.0
"""More `--seconds` than this are not suggested to reach a verdict."""
_ONE = math.log1p(SMALLEST_EFFECT)
_SIGN_Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Control:
    """What a second copy of an artifact showed beside the first: their true ratio is 1."""

    name: str
    ratio: float
    ci95: tuple[float, float] | None
    launches: int
    bias: float
    """What is left of the difference without the noise of launches; a logarithm, taken as a standard deviation."""


@dataclass(frozen=True, slots=True)
class Design:
    """What the verdicts of one session depend on besides the samples."""

    max_launches: int
    pairs: int = 1
    """How many pairs of artifacts are compared."""
    control: Control | None = None

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many launches the session looks for verdicts: Fibonacci numbers from 3, and the last launch."""
        counts, following = [MIN_LAUNCHES], 5
        while following < self.max_launches:
            counts.append(following)
            following = counts[-1] + counts[-2]
        return (*counts, self.max_launches) if self.max_launches > MIN_LAUNCHES else (MIN_LAUNCHES,)

    def error_rate(self, launches: int) -> float:
        """Return the probability of a wrong verdict that a look after so many launches may have.

        The shares of the looks grow with the square of the number of launches. Stopping early, as a Ctrl-C does, uses
        up the share of the look that would have come next.
        """
        looks = self.looks
        look = next((count for count in looks if count >= launches), looks[-1])
        rate = min(ERROR_RATE, TABLE_ERROR_RATE / self.pairs)
        return rate * look**2 / sum(count**2 for count in looks)


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times faster an artifact is than another; above 1 is faster."""

    ratio: float
    ci95: tuple[float, float] | None
    """None, and no verdict with it, after a single launch."""
    verdict: Verdict | None
    margin: float = math.inf
    """Half-width of the interval that the verdict rests on; a logarithm. Wider than `ci95`: it holds for all looks."""
    launches: int = 1

    @property
    def is_decided(self) -> bool:
        """Whether more launches would be of no use."""
        return self.verdict not in (None, "unclear")

    @property
    def within(self) -> float | None:
        """The largest relative difference that is still possible; None after a single launch."""
        return math.expm1(abs(math.log(self.ratio)) + self.margin) if math.isfinite(self.margin) else None

    @property
    def seconds_needed(self) -> float | None:
        """The `--seconds` that would decide an unclear verdict if nothing else changed; None if that is too many."""
        if self.verdict != "unclear":
            return None
        effect = abs(math.log(self.ratio))
        wanted = effect if effect >= _ONE else _ONE - effect
        launches = self.launches * (self.margin / wanted) ** 2 if wanted > 0 else math.inf
        seconds = launches * LAUNCH_S
        return float(math.ceil(seconds)) if seconds <= MOST_SECONDS else None


@dataclass(frozen=True, slots=True)
class LaunchEffect:
    """What one launch of two artifacts gave."""

    effect: float
    """The logarithm of the speed-up: the median over the rounds."""
    error: float
    """Its standard error by the noise of the rounds."""


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
    """Return the speed-up that one launch or more have shown."""
    mean, error, freedom = mean_and_error([launch.effect for launch in launches])
    if freedom == 0:
        return Speedup(math.exp(mean), None, None)
    extra = 2 * design.control.bias if design.control else 0.0
    half = math.hypot(_t((1 + CONFIDENCE) / 2, freedom) * error, extra)
    margin = max(half * (1 + EARLY_STOP), math.hypot(_margin(launches, error, design), extra))
    verdict = _verdict(mean, margin)
    if verdict in ("faster", "slower") and len(launches) < design.max_launches:
        half = _widened(half, mean, margin)
    ci95 = (math.exp(mean - half), math.exp(mean + half))
    return Speedup(math.exp(mean), ci95, verdict, margin, len(launches))


def check_control(name: str, launches: Sequence[LaunchEffect]) -> Control | None:
    """Return what the second copy of an artifact showed beside the first, None without a launch of both.

    Args:
        name: The artifact.
        launches: The second copy beside the first.
    """
    if not launches:
        return None
    mean, error, freedom = mean_and_error([launch.effect for launch in launches])
    if freedom == 0:
        return Control(name, math.exp(mean), None, 1, 0.0)
    half = _t((1 + CONFIDENCE) / 2, freedom) * error
    ci95 = (math.exp(mean - half), math.exp(mean + half))
    # The noise counts twice: on a device without such a bias, five sessions in six are then not widened.
    bias = math.sqrt(max(0.0, mean**2 - 2 * error**2))
    return Control(name, math.exp(mean), ci95, len(launches), bias)


def launch_effects(measurement: Measurement, other: Measurement) -> list[LaunchEffect]:
    """Return what each launch of both artifacts gave."""
    others = {launch.number: launch for launch in other.launches}
    pairs = ((launch, others[launch.number]) for launch in measurement.launches if launch.number in others)
    rounds = (sorted(_round_effects(*pair)) for pair in pairs)
    return [LaunchEffect(statistics.median(effects), _median_error(effects)) for effects in rounds if effects]


def _round_effects(launch: Launch, other: Launch) -> list[float]:
    """Return the logarithm of the speed-up in every round that two launches share."""
    return [
        math.log(_quiet(theirs, len(ours)) / _quiet(ours, len(theirs)))
        for ours, theirs in zip(launch.rounds, other.rounds, strict=False)
        if ours and theirs
    ]


def _quiet(samples: Sequence[int], others: int) -> float:
    """Return what the undisturbed inferences of a round took."""
    # The fastest of five samples is faster than the fastest of four: artifacts of about the same speed are compared on
    # the same number.
    count = others if others < len(samples) < 2 * others else len(samples)
    return quantile(sorted(samples[:count]), QUIET_SHARE)


def _median_error(ordered: Sequence[float]) -> float:
    """Return the standard error of the median of sorted values (J. W. McKean and R. M. Schrader, 1984)."""
    count = len(ordered)
    below = max(0, math.floor((count + 1 - _SIGN_Z * math.sqrt(count)) / 2) - 1)
    above = count - 1 - below
    return (ordered[above] - ordered[below]) * math.sqrt(count) / (2 * (above - below)) if above > below else 0.0


def _margin(launches: Sequence[LaunchEffect], error: float, design: Design) -> float:
    """Return the half-width of the interval of one look."""
    count = len(launches)
    freedom = count - 1 + PRIOR_LAUNCHES
    error_of_one = _error_of_one_launch(count, error, statistics.fmean(launch.error**2 for launch in launches))
    return _t(1 - design.error_rate(count) / 2, freedom) * error_of_one / math.sqrt(count)


def _error_of_one_launch(count: int, error: float, noise: float) -> float:
    """Return the standard deviation of a launch's value.

    Three launches show little of it. So what is known before them counts as a few launches more (a scaled inverse
    chi-squared prior): the bias of a process, and the noise of rounds, which every launch shows by itself.

    Args:
        count: How many launches there are.
        error: The standard error of their mean.
        noise: The variance of one launch's value by the noise of its rounds.
    """
    expected, seen = PROCESS_BIAS**2 + noise, error**2 * count
    return math.sqrt((PRIOR_LAUNCHES * expected + (count - 1) * seen) / (PRIOR_LAUNCHES + count - 1))


def _widened(half: float, mean: float, margin: float) -> float:
    """Return the half-width of the 95 % interval of a session that stopped at a difference.

    The nearer the difference is to the margin, the more often the session stopped because it looked larger than it is.
    The factor is chosen so that simulated sessions of all recorded machines have a coverage of 93 to 97 %.
    """
    return half * (1 + EARLY_STOP * margin / abs(mean))


def _verdict(mean: float, margin: float) -> Verdict:
    """Return the verdict on a logarithm of a speed-up whose interval reaches `margin` to each side."""
    if abs(mean) + margin <= _ONE:
        return "same"
    if abs(mean) < _ONE or abs(mean) <= margin:
        return "unclear"
    return "faster" if mean > 0 else "slower"


@cache
def _t(probability: float, freedom: int) -> float:
    return t_quantile(probability, freedom)
