"""How often verdicts are right, by simulation: sessions put together from recorded launches, with a known difference.

A recorded session holds launches of equal copies of one artifact, measured side by side. A simulated session draws
launches from one recorded session, with replacement, and deals the copies out anew in each: so the true ratio of two
copies is 1. The rounds of a launch stay together, since drawing them anew too would add their noise a second time
(A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). One copy is then made
slower by a known factor.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.verdicts import LAUNCH_S, MIN_LAUNCHES, Design, LaunchEffect, check_control, judge, launch_effects

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

COPIES = ("source", "equal", "twin")
"""The equal copies of a recording; older ones have two."""
VERDICTS = ("faster", "slower", "same", "unclear")
_Z = 1.959964

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
    share, spread = count / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def read_recordings(folder: Path) -> list[Pairs]:
    """Return the recorded sessions in a folder, each reduced to what its launches gave."""
    return [_pairs(json.loads(file.read_text("utf-8"))["samples"]) for file in sorted(folder.glob("*.json"))]


def simulate(recordings: Sequence[Pairs], slower: float, *, seconds: float, sessions: int, seed: int = 0) -> Rates:
    """Return how simulated sessions end.

    Args:
        recordings: Recorded sessions of one machine.
        slower: By how much the artifact is slower than the source; 0.02 is 2 %.
        seconds: As for `edgeopt export --seconds`.
        sessions: How many to simulate.
        seed: Of the random draws.
    """
    draw = random.Random(seed)  # noqa: S311 - it resamples, it keeps no secret
    ended = [_session(draw.choice(recordings), math.log1p(slower), seconds, draw) for _ in range(sessions)]
    return Rates(
        sessions,
        Counter(one.verdict for one in ended),
        sum(one.is_covered for one in ended),
        statistics.fmean(one.launches for one in ended),
    )


def _pairs(samples: dict[str, list[list[list[int]]]]) -> Pairs:
    copies = [name for name in COPIES if name in samples]
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


def _session(recording: Pairs, shift: float, seconds: float, draw: random.Random) -> Ended:
    design = Design(max(MIN_LAUNCHES, round(seconds / LAUNCH_S)))
    beside_source: list[LaunchEffect] = []
    beside_copy: list[LaunchEffect] = []
    while True:
        pair, control = _launch(recording, draw)
        beside_source.append(LaunchEffect(pair.effect - shift, pair.error))
        if len(beside_source) > 1:  # the control takes part from the second launch on
            beside_copy.append(control)
        if len(beside_source) not in design.looks:
            continue
        control_shown = check_control("source", beside_copy)
        found = judge(beside_source, Design(design.max_launches, control=control_shown))
        if found.is_decided or len(beside_source) == design.max_launches:
            low, high = found.ci95 or (0.0, math.inf)
            return Ended(str(found.verdict), len(beside_source), low <= math.exp(-shift) <= high)


def _launch(recording: Pairs, draw: random.Random) -> tuple[LaunchEffect, LaunchEffect]:
    """Return what a launch gave of the artifact beside the source, and of the control beside the source."""
    launch = draw.choice(recording)
    names = sorted({name for pair in launch for name in pair})
    artifact, source, *twin = draw.sample(names, len(names))
    if twin:
        return launch[artifact, source], launch[twin[0], source]
    # Of two copies there is no third one to be the control: it comes from another launch.
    return launch[artifact, source], draw.choice(recording)[tuple(draw.sample(names, 2))]  # type: ignore[index]
