"""Lets every artifact run on and on, and tells how its latency changes as the device gets hot.

Each artifact runs alone for the whole time, one after another, and each begins from the same state of the device: it
rests until it is as cool as it was before the first one (see `cooling`). Side by side, as a session measures, all would
share one heat. What runs cooler would then be slowed by what runs hotter, and the hot figures would only repeat the
cold ones; but whoever ships one file runs that file alone.

The price is that artifacts are compared over minutes, each in a single process. What a session has (rounds that share
every disturbance, several launches) is missing, so a difference must be larger here to count; see `SMALLEST_EFFECT`.
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
"""How many slices a part has, at least: as many as its interval is taken over."""
SLICE_S = 1.0
MOST_SAMPLES = 1000
"""How many inferences of a slice are recorded; the others only keep the device busy."""
LEAST_INFERENCES = 3
"""How many inferences a part must have room for."""
SMALLEST_EFFECT = 0.03
"""A smaller relative difference hardly matters. A part is a single process, and two of one file differ by about 1 %."""
MOST_TRIES = 3
"""How often an artifact is begun again whose link was lost."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long each artifact runs, and how."""

    seconds: float
    threads: int = 1
    seed: int = 0
    timeout_s: float | None = 600.0

    @property
    def part_s(self) -> float:
        """How long a part is: a minute; of less than three minutes so much that there are three parts."""
        return next((part_s for part_s in PARTS_S if self.seconds >= LEAST_PARTS * part_s), self.seconds / LEAST_PARTS)

    @property
    def parts(self) -> int:
        """How many parts there are; the last one has the rest too."""
        return max(1, int(self.seconds / self.part_s + 1e-9))


@dataclass(frozen=True, slots=True)
class Slice:
    """About a second of work, with nothing but a question between it and the next."""

    begin_s: float
    """Since the artifact began."""
    median_s: float
    iterations: int
    """How many inferences it had, those included that were not recorded."""


@dataclass(frozen=True, slots=True)
class Part:
    """A minute, or what stands for one; the median is that of its slices, None where it has none."""

    median_s: float | None
    ci95_s: tuple[float, float] | None
    iterations: int


@dataclass(slots=True)
class Stretch:
    """What one artifact gave that ran on, raw."""

    name: str
    settings: Settings
    before: Health
    after: Health | None = None
    """None where it did not come to its end, or the device could not tell then."""
    is_whole: bool = False
    """Whether it came to its end."""
    slices: list[Slice] = field(default_factory=list)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return as many parts as were planned."""
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
        """The last part; None where it did not come to its end."""
        return self.parts[-1] if self.is_whole else None


class Endurance:
    """Several artifacts that run on, one after another, on one device.

    Args:
        subjects: What is measured.
        settings: How long and how.
        health: Looks at the device.
        stopping: Ends everything when it is set, from another thread.
        progress: Is told, by artifact, what is going on.
        done: Is told, by artifact, how it ended.
        reconnect: Reaches the device again after its link was lost; None where it has no link. The device may have
            cooled meanwhile, so the artifact begins anew.
    """

    def __init__(  # noqa: PLR0913 - what is measured, how, and who is told
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
        # Sorted, so that the order in which targets were named cannot decide anything.
        self._subjects = sorted(subjects, key=lambda subject: subject.name)
        random.Random(settings.seed).shuffle(self._subjects)  # noqa: S311 - it keeps no secret
        self._cooling = Cooling(health, stopping, settings.seconds)
        self._found: dict[str, Stretch] = {}
        self._errors: dict[str, EdgeoptError] = {}
        self._lost: dict[str, EdgeoptError] = {}

    def run(self) -> None:
        """Let every artifact run; one that fails has its error, and the others go on."""
        for number, subject in enumerate(self._subjects):
            if self._stopping.is_set():
                return
            try:
                self._run_again_when_cut(subject)
            except EdgeoptError as error:  # the device is gone, and was waited for
                if not self._stopping.is_set():  # else it was let go on purpose
                    self._lose(self._subjects[number:], error)
                return
            failure = self._errors.get(subject.name)
            self._done(subject.name, f"failed: {failure.message}" if failure else "ran on")

    @property
    def found(self) -> dict[str, Stretch]:
        """What was measured so far, by name; of an artifact that was begun anew the longest stretch."""
        return dict(self._found)

    @property
    def errors(self) -> dict[str, EdgeoptError]:
        """What went wrong with an artifact itself, by name."""
        return dict(self._errors)

    @property
    def lost(self) -> dict[str, EdgeoptError]:
        """Why the device could not be reached any more, by the names of those that were not done yet."""
        return dict(self._lost)

    def _lose(self, subjects: Sequence[Subject], error: EdgeoptError) -> None:
        for subject in subjects:
            self._lost[subject.name] = error
            self._done(subject.name, f"did not run on: {error.message}")

    def _run_again_when_cut(self, subject: Subject, tries: int = MOST_TRIES) -> None:
        """Let one artifact run, anew when the link is lost on the way.

        Raises:
            EdgeoptError: The device does not come back, or does not tell how it is.
        """
        try:
            self._run_alone(subject)
        except LinkLostError:
            if self._stopping.is_set() or self._reconnect is None or tries == 1:
                raise
            self._reconnect()
            self._run_again_when_cut(subject, tries - 1)

    def _run_alone(self, subject: Subject) -> None:
        """Let one artifact run for the whole time; whatever ends it, what was measured is kept."""
        stretch = Stretch(subject.name, self._settings, self._cooling.rest(lambda text: self._tell(subject.name, text)))
        channels: list[Conversation] = []
        try:
            self._work(self._begin(subject, channels), stretch)
        except LinkLostError:  # it is not this artifact's fault
            raise
        except (EdgeoptError, *UNUSABLE) as error:
            if not self._stopping.is_set():  # else its process was ended on purpose
                self._errors[subject.name] = as_error(error)
        else:
            if not self._stopping.is_set():
                stretch.is_whole = True
                with suppress(DeviceError):  # the next artifact's beginning will tell whether the device is gone
                    stretch.after = self._health()
        finally:  # what came before an end, by a crash or by Ctrl-C, still counts
            for channel in channels:
                channel.close()
            self._keep(stretch)

    def _keep(self, stretch: Stretch) -> None:
        earlier = self._found.get(stretch.name)
        is_longer = earlier is None or stretch.is_whole or len(stretch.slices) > len(earlier.slices)
        if stretch.slices and is_longer:
            self._found[stretch.name] = stretch

    def _begin(self, subject: Subject, channels: list[Conversation]) -> Process:
        """Start a process, let it load and warm up, and return it.

        Raises:
            EdgeoptError: It fails, or one inference takes longer than a part has room for.
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
        """Time slice after slice until the time is over."""
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

    None where a part has no interval, as of a single slice: how sure a difference is, is not known then.

    Args:
        part: The part.
        other: What it is compared with.
        noise: How far parts lie apart by chance, as a logarithm; see `reversal`.
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
    """Return the largest way back, as a logarithm, of parts that become slower or faster from the first to the last.

    Heat goes one way. What comes and goes is something else (other processes, a fan), and the interval of a part does
    not show it: its slices are too near to each other.
    """
    logs = [math.log(part.median_s) for part in parts if part.median_s is not None]
    if logs and logs[-1] < logs[0]:
        logs = [-value for value in logs]
    return max((highest - value for highest, value in zip(accumulate(logs, max), logs, strict=True)), default=0.0)


def winners(parts: Mapping[str, Part], noise: Mapping[str, float]) -> set[str]:
    """Return, by name, the fastest of some parts and all that cannot be told from it."""
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
