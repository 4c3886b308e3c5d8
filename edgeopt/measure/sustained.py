"""Measures how the latency of each artifact changes as the device heats up.

Artifacts run one after another, each alone for the whole time, and each starts from the same state of the device: it
rests until it is as cool as before the first one (see `cooling`). Side by side, as in a session, all artifacts would
share one temperature: cooler ones would be slowed by hotter ones, and the hot figures would only repeat the cold ones.
A shipped artifact, however, runs alone.

The price is that artifacts are compared minutes apart, each in a single process. The shared rounds and repeated
launches of a session are missing, so a difference must be larger here to count; see `SMALLEST_EFFECT`.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from edgeopt.errors import DeviceError, EdgeoptError, LinkLostError, UsageError
from edgeopt.measure.cooling import Cooling
from edgeopt.measure.process import UNUSABLE, Process, as_error
from edgeopt.measure.stats import interval

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from edgeopt.measure.facts import Health
    from edgeopt.measure.process import Conversation, Subject
    from edgeopt.measure.verdicts import Verdict

PARTS_S = (60.0, 30.0, 20.0, 10.0, 5.0, 2.0, 1.0)
LEAST_PARTS = 3
SLICES = 10
"""Minimum number of slices in a part; its interval is taken over them."""
SLICE_S = 1.0
MOST_SAMPLES = 1000
"""Maximum number of inferences recorded per slice; the others only keep the device busy."""
LEAST_INFERENCES = 3
"""Minimum number of inferences that must fit into a part."""
SMALLEST_EFFECT = 0.03
"""Smallest relative difference that matters. A part is a single process; two of one file differ by about 1 %."""
MOST_TRIES = 3
"""Maximum number of attempts per artifact if the connection is lost."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Duration and method of a sustained measurement."""

    seconds: float
    threads: int = 1
    seed: int = 0
    timeout_s: float | None = 600.0

    @property
    def part_s(self) -> float:
        """Length of a part: a minute, or less so that there are at least three parts."""
        return next((part_s for part_s in PARTS_S if self.seconds >= LEAST_PARTS * part_s), self.seconds / LEAST_PARTS)

    @property
    def parts(self) -> int:
        """Number of parts; the last one includes the rest."""
        return max(1, int(self.seconds / self.part_s + 1e-9))


@dataclass(frozen=True, slots=True)
class Slice:
    """About a second of work; only one request separates it from the next slice."""

    begin_s: float
    """Time since the artifact began."""
    median_s: float
    iterations: int
    """Number of inferences, including those not recorded."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run, for example a minute; the median is that of its slices, None without any."""

    median_s: float | None
    ci95_s: tuple[float, float] | None
    iterations: int


@dataclass(slots=True)
class Stretch:
    """Raw sustained results of one artifact."""

    name: str
    settings: Settings
    before: Health
    after: Health | None = None
    """None if the run did not finish, or the final health check failed."""
    is_whole: bool = False
    """Whether the run finished."""
    slices: list[Slice] = field(default_factory=list)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All planned parts; some may be empty."""
        last = self.settings.parts - 1
        groups: list[list[Slice]] = [[] for _ in range(last + 1)]
        for piece in self.slices:
            groups[min(int(piece.begin_s / self.settings.part_s), last)].append(piece)
        return tuple(map(_summarise, groups))

    @property
    def cold(self) -> Part:
        """The first part."""
        return self.parts[0]

    @property
    def hot(self) -> Part | None:
        """The last part; None if the run did not finish."""
        return self.parts[-1] if self.is_whole else None


class Endurance:
    """Sustained measurement of several artifacts, one after another, on one device.

    Args:
        subjects: The artifacts to measure.
        settings: Duration and method.
        health: Returns the health of the device.
        stopping: Stops everything when set from another thread.
        progress: Called with an artifact's name and its current step.
        done: Called with an artifact's name and its outcome.
        reconnect: Restores a lost connection to the device; None if it does not use one. The device may have cooled
            meanwhile, so the artifact starts over.
    """

    def __init__(  # noqa: PLR0913 - subjects, method and callbacks
        self,
        subjects: Sequence[Subject],
        settings: Settings,
        *,
        health: Callable[[], Health],
        stopping: threading.Event,
        progress: Callable[[str, str], None] | None = None,
        done: Callable[[str, str], None] | None = None,
        reconnect: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._health = health
        self._stopping = stopping
        self._tell = progress or (lambda _name, _text: None)
        self._done = done or (lambda _name, _text: None)
        self._reconnect = reconnect
        # Sorted, so that the order in which targets are given has no effect.
        self._subjects = sorted(subjects, key=lambda subject: subject.name)
        random.Random(settings.seed).shuffle(self._subjects)  # noqa: S311 - not cryptography
        self._cooling = Cooling(health, stopping, settings.seconds)
        self._found: dict[str, Stretch] = {}
        self._errors: dict[str, EdgeoptError] = {}
        self._lost: dict[str, EdgeoptError] = {}

    def run(self) -> None:
        """Run every artifact; record the error of one that fails, and continue with the others."""
        for number, subject in enumerate(self._subjects):
            if self._stopping.is_set():
                return
            try:
                self._run_again_when_cut(subject)
            except EdgeoptError as error:  # the device did not come back, or its health cannot be read
                if not self._stopping.is_set():  # else it was released on purpose
                    self._lose(self._subjects[number:], error)
                return
            failure = self._errors.get(subject.name)
            self._done(subject.name, f"failed: {failure.message}" if failure else "ran on")

    @property
    def found(self) -> dict[str, Stretch]:
        """Results so far, by name; for an artifact that started over, the longest stretch."""
        return dict(self._found)

    @property
    def errors(self) -> dict[str, EdgeoptError]:
        """Errors of the artifacts themselves, by name."""
        return dict(self._errors)

    @property
    def lost(self) -> dict[str, EdgeoptError]:
        """Why the device was lost, by the names of the artifacts not yet done."""
        return dict(self._lost)

    def _lose(self, subjects: Sequence[Subject], error: EdgeoptError) -> None:
        for subject in subjects:
            self._lost[subject.name] = error
            self._done(subject.name, f"did not run on: {error.message}")

    def _run_again_when_cut(self, subject: Subject, tries: int = MOST_TRIES) -> None:
        """Run one artifact; start over if the connection is lost.

        Raises:
            EdgeoptError: The device does not come back, or does not report its health.
        """
        try:
            self._run_alone(subject)
        except LinkLostError:
            if self._stopping.is_set() or self._reconnect is None or tries == 1:
                raise
            self._reconnect()
            self._run_again_when_cut(subject, tries - 1)

    def _run_alone(self, subject: Subject) -> None:
        """Run one artifact for the whole time; keep its results however it ends."""
        stretch = Stretch(subject.name, self._settings, self._cooling.rest(lambda text: self._tell(subject.name, text)))
        channels: list[Conversation] = []
        try:
            self._work(self._begin(subject, channels), stretch)
        except LinkLostError:  # not this artifact's fault
            raise
        except (EdgeoptError, *UNUSABLE) as error:
            if not self._stopping.is_set():  # else its process was ended on purpose
                self._errors[subject.name] = as_error(error)
        else:
            if not self._stopping.is_set():
                stretch.is_whole = True
                with suppress(DeviceError):  # if the device is gone, the start of the next artifact detects it
                    stretch.after = self._health()
        finally:  # results from before a crash or Ctrl-C still count
            for channel in channels:
                channel.close()
            self._keep(stretch)

    def _keep(self, stretch: Stretch) -> None:
        earlier = self._found.get(stretch.name)
        is_longer = earlier is None or stretch.is_whole or len(stretch.slices) > len(earlier.slices)
        if stretch.slices and is_longer:
            self._found[stretch.name] = stretch

    def _begin(self, subject: Subject, channels: list[Conversation]) -> Process:
        """Start a process, load the artifact, warm up, and return the process.

        Raises:
            EdgeoptError: A step fails, or one inference is too long for a part.
        """
        self._tell(subject.name, "loading")
        channels.append(subject.launch())
        process = Process.load(subject, channels[-1], self._settings.threads, self._settings.timeout_s)
        process.warm()
        if LEAST_INFERENCES * process.latency_s > self._settings.part_s:
            raise UsageError(
                f"one inference takes {process.latency_s:.1f} s, too long for parts of {self._settings.part_s:g} s",
                hint="measure longer with --sustained",
            )
        return process

    def _work(self, process: Process, stretch: Stretch) -> None:
        """Time one slice after another until the time is up."""
        settings, begin = self._settings, time.monotonic()
        slice_s = min(SLICE_S, settings.part_s / SLICES)
        latency_s, told = process.latency_s, -1
        while (elapsed_s := time.monotonic() - begin) < settings.seconds and not self._stopping.is_set():
            part = min(int(elapsed_s / settings.part_s), settings.parts - 1)
            if part != told:
                told = part
                self._tell(process.subject.name, f"running on, part {part + 1} of {settings.parts}")
            count = max(1, round(min(slice_s, settings.seconds - elapsed_s) / latency_s))
            process.iterations = min(count, MOST_SAMPLES)
            process.settle = count - process.iterations
            process.time()
            latency_s = statistics.median(process.rounds.pop()) / 1e9
            stretch.slices.append(Slice(elapsed_s, latency_s, count))


def compare(part: Part, other: Part, noise: float = 0.0) -> Verdict | None:
    """Return whether a part is `faster` or `slower` than another, the `same` within 3 %, or `unclear`.

    None if a part lacks an interval, for example with a single slice: its uncertainty is unknown.

    Args:
        part: The part.
        other: The part it is compared with.
        noise: Difference between parts by chance, as a logarithm; see `reversal`.
    """
    if part.median_s is None or other.median_s is None or part.ci95_s is None or other.ci95_s is None:
        return None
    difference = math.log(other.median_s / part.median_s)
    unsure = math.hypot(math.log(part.ci95_s[1] / part.median_s), math.log(other.ci95_s[1] / other.median_s))
    margin, smallest = max(unsure, noise), math.log1p(SMALLEST_EFFECT)
    if abs(difference) > max(margin, smallest):
        return "faster" if difference > 0 else "slower"
    return "same" if abs(difference) + margin <= smallest else "unclear"


def reversal(parts: Sequence[Part]) -> float:
    """Return the largest move against the trend from the first to the last part, as a logarithm.

    Heat acts in one direction. A change that reverses has another cause (other processes, a fan), and the interval of a
    part does not show it: its slices are too close together.
    """
    logs = [math.log(part.median_s) for part in parts if part.median_s is not None]
    if logs and logs[-1] < logs[0]:
        logs = [-value for value in logs]
    return max((highest - value for highest, value in zip(accumulate(logs, max), logs, strict=True)), default=0.0)


def winners(parts: Mapping[str, Part], noise: Mapping[str, float]) -> set[str]:
    """Return the names of the fastest part and of all parts not measurably slower."""
    medians = {name: part.median_s for name, part in parts.items() if part.median_s is not None}
    if not medians:
        return set()
    best = min(medians, key=lambda name: medians[name])
    return {name for name in medians if compare(parts[name], parts[best], max(noise[name], noise[best])) != "slower"}


def _summarise(slices: Sequence[Slice]) -> Part:
    if not slices:
        return Part(None, None, 0)
    median_s = statistics.median(piece.median_s for piece in slices)
    _, half = interval([math.log(piece.median_s) for piece in slices])
    ci95_s = (median_s * math.exp(-half), median_s * math.exp(half)) if math.isfinite(half) else None
    return Part(median_s, ci95_s, sum(piece.iterations for piece in slices))
