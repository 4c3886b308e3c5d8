"""How often verdicts are right, by simulation: sessions put together from recorded launches, with a known difference.

A recorded session holds launches of equal copies of one artifact, measured side by side. There are two ways to make a
session of them:

- *dealt*: launches are drawn from one recorded session, with replacement, and the copies are dealt out anew in each, so
  the true ratio of two copies is 1. The rounds of a launch stay together, since drawing them anew too would add their
  noise a second time (A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
- *kept*: the launches of one recorded session come in another order, and each copy stays what it is. This keeps a
  difference between two copies that lasts for a whole session, but there are no more launches than were recorded.

One copy is then made slower by a known factor.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgeopt.measure.control import check_control
from edgeopt.measure.effects import LaunchEffect, launch_effects
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.session import Settings
from edgeopt.measure.stats import NORMAL_975
from edgeopt.measure.verdicts import LAUNCH_S, Design, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

COPIES = ("source", "equal", "twin")
"""The equal copies of a recording; older ones have two."""
VERDICTS = ("faster", "slower", "same", "unclear")

Pairs: TypeAlias = "list[dict[tuple[str, str], LaunchEffect]]"
"""By launch, every ordered pair of copies."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one simulated session ended."""

    verdict: str
    launches: int
    is_covered: bool
    """Whether the 95 % interval contains the true ratio."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often simulated sessions ended in which way."""

    sessions: int
    verdicts: Counter[str]
    covered: int
    launches: float
    """Per session."""

    @property
    def measuring_s(self) -> float:
        """How long the pair is timed in a session, in seconds."""
        return 2 * LAUNCH_S * self.launches

    def share(self, *verdicts: str) -> float:
        """Return how often a session ended with one of these verdicts."""
        return sum(self.verdicts[verdict] for verdict in verdicts) / self.sessions


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (E. B. Wilson, 1927)."""
    share, spread = count / total, NORMAL_975**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = NORMAL_975 * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def read_recordings(folder: Path, copies: Sequence[str] = COPIES) -> list[Pairs]:
    """Return the recorded sessions in a folder, each reduced to the effects of its launches.

    Args:
        folder: Its files hold a session each.
        copies: The artifacts to read; those that a session does not have are left out.
    """
    return [_pairs(json.loads(file.read_text("utf-8"))["samples"], copies) for file in sorted(folder.glob("*.json"))]


def simulate(recordings: Sequence[Pairs], slower: float, *, seconds: float, sessions: int, seed: int = 0) -> Rates:
    """Return how sessions end whose launches are dealt.

    Args:
        recordings: Recorded sessions of one machine.
        slower: By how much the artifact is slower than the source; 0.02 is 2 %.
        seconds: As for `edgeopt export --seconds`.
        sessions: How many to simulate.
        seed: Of the random draws.
    """
    draw = random.Random(seed)  # noqa: S311 - it resamples, it keeps no secret
    count = Settings(seconds=seconds).max_launches
    return _rates(
        [_session(_dealt(draw.choice(recordings), count, draw), math.log1p(slower), count) for _ in range(sessions)]
    )


def simulate_kept(recordings: Sequence[Pairs], slower: float, *, sessions: int, seed: int = 0) -> Rates:
    """Return how sessions end whose launches are those of a recorded session in another order; see `simulate`."""
    draw = random.Random(seed)  # noqa: S311 - it resamples, it keeps no secret
    chosen = [draw.choice(recordings) for _ in range(sessions)]
    return _rates([_session(_kept(one, draw), math.log1p(slower), len(one)) for one in chosen])


def _rates(ended: Sequence[Ended]) -> Rates:
    return Rates(
        len(ended),
        Counter(one.verdict for one in ended),
        sum(one.is_covered for one in ended),
        statistics.fmean(one.launches for one in ended),
    )


def _pairs(samples: dict[str, list[list[list[int]]]], wanted: Sequence[str]) -> Pairs:
    copies = [name for name in wanted if name in samples]
    measured = {name: Measurement(name, 1, tuple(_launches(samples[name]))) for name in copies}
    effects = {
        (one, other): launch_effects(measured[one], measured[other])
        for one in copies
        for other in copies
        if one != other
    }
    return [dict(zip(effects, launch, strict=True)) for launch in zip(*effects.values(), strict=True)]


def _launches(launches: list[list[list[int]]]) -> Iterable[Launch]:
    for number, rounds in enumerate(launches):
        yield Launch(number, 0.0, 0.0, steady=True, rounds=tuple(map(tuple, rounds)), peak_bytes=1, model_bytes=1)


def _session(launches: Iterable[tuple[LaunchEffect, LaunchEffect | None]], shift: float, count: int) -> Ended:
    """Return how a session of these launches ends: of the artifact and of the control, both beside the source."""
    design = Design(count)
    beside_source: list[LaunchEffect] = []
    copies: list[LaunchEffect] = []
    for pair, control in launches:
        beside_source.append(LaunchEffect(pair.effect - shift, pair.error))
        if control is not None and len(beside_source) > 1:  # it takes part from the second launch on
            copies.append(control)
        if len(beside_source) in design.looks:
            found = judge(beside_source, Design(count, control=check_control("source", copies)))
            if found.is_decided or len(beside_source) == count:
                low, high = found.ci95 or (0.0, math.inf)
                return Ended(str(found.verdict), len(beside_source), low <= math.exp(-shift) <= high)
    raise ValueError(f"fewer than {count} launches")


def _dealt(recording: Pairs, count: int, draw: random.Random) -> Iterable[tuple[LaunchEffect, LaunchEffect | None]]:
    for _ in range(count):
        launch = draw.choice(recording)
        artifact, source, *copy = draw.sample(_names(recording), len(_names(recording)))
        # Of two copies there is no third one to be the control: it comes from another launch.
        control = launch[copy[0], source] if copy else draw.choice(recording)[artifact, source]
        yield launch[artifact, source], control


def _kept(recording: Pairs, draw: random.Random) -> Iterable[tuple[LaunchEffect, LaunchEffect | None]]:
    artifact, source, *copy = draw.sample(_names(recording), len(_names(recording)))
    for launch in draw.sample(recording, len(recording)):
        yield launch[artifact, source], launch[copy[0], source] if copy else None


def _names(recording: Pairs) -> list[str]:
    return sorted({name for pair in recording[0] for name in pair})
