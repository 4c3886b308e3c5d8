"""Measures several artifacts side by side, in repeated launches with shuffled rounds.

A session is independent of the device: per artifact, it receives a function that starts the harness and returns the
conversation with it. An error fails only the artifact that caused it; the others continue.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.errors import EdgeoptError, LinkLostError, StoppedError
from edgeopt.measure.control import PREFIX, SecondCopy, check_control
from edgeopt.measure.effects import launch_effects
from edgeopt.measure.journal import Earlier
from edgeopt.measure.measurement import Measurement
from edgeopt.measure.process import UNUSABLE, Process, as_error
from edgeopt.measure.rounds import plan_rounds
from edgeopt.measure.stats import summarise
from edgeopt.measure.verdicts import (
    LAUNCH_S,
    MIN_LAUNCHES,
    MOST_LAUNCHES,
    Design,
    compare,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeopt.measure.control import Control
    from edgeopt.measure.journal import Journal
    from edgeopt.measure.process import Conversation, Subject

MOST_CUTS = 5
"""Number of lost connections that a session survives; one more, and the device is given up."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Duration and method of a measurement.

    Each artifact is timed for at most about `seconds`, in launches of a quarter of a second or in at least
    `min_launches` shorter ones. Clear differences need only a few. `min_iterations` are spread over the first launches.
    If one inference takes longer than `seconds / min_iterations`, they take longer than `seconds`, and each further
    launch repeats its share.
    """

    seconds: float = 2.0
    min_iterations: int = 100
    threads: int = 1
    seed: int = 0
    timeout_s: float | None = 600.0
    loads_at_once: int = 2
    min_launches: int = MIN_LAUNCHES
    rank: bool = False
    """Whether each artifact must also be compared clearly with the fastest, not only with the source."""

    @property
    def max_launches(self) -> int:
        """Maximum number of launches per artifact."""
        return max(self.min_launches, min(MOST_LAUNCHES, round(self.seconds / LAUNCH_S)))


class Session:
    """One measurement of several artifacts on one device.

    Args:
        subjects: The artifacts to measure.
        settings: Duration and method.
        progress: Called with an artifact's name and its current step.
        source: Name of the subject that all others are compared with; the fastest if it is not among them.
        reconnect: Restores a lost connection to the device; None if it does not use one. The interrupted round is
            discarded for all artifacts, and the remaining rounds are measured afterwards.
        journal: Records everything as it arrives, and holds the results of an earlier run.
        free_bytes: Memory available to all processes together; None if unknown.
    """

    def __init__(  # noqa: PLR0913 - subjects, method and callbacks
        self,
        subjects: Sequence[Subject],
        settings: Settings,
        progress: Callable[[str, str], None] | None = None,
        *,
        source: str | None = None,
        reconnect: Callable[[], None] | None = None,
        journal: Journal | None = None,
        free_bytes: int | None = None,
    ) -> None:
        self._settings = settings
        self._progress = progress or (lambda _name, _text: None)
        self._source = source
        self._reconnect = reconnect
        # Sorted, so that the order in which targets are given has no effect.
        self._subjects = sorted(subjects, key=lambda subject: subject.name)
        self._random = random.Random(settings.seed)  # noqa: S311 - shuffling, not cryptography
        earlier = (journal and journal.earlier) or Earlier()
        self._record: Callable[[Mapping[str, Any]], None] = journal.append if journal else lambda _record: None
        copies = {name: launches for name, launches in earlier.launches.items() if name.startswith(PREFIX)}
        self._launches = {subject.name: earlier.launches.get(subject.name, []) for subject in subjects} | copies
        self._untimed = {name: earlier.untimed.get(name) for name, launches in self._launches.items() if launches}
        """By artifact loaded at least once: why its latency would be meaningless; None if it is timed."""
        self._facts = {name: earlier.facts.get(name, {}) for name in self._untimed}
        self._copy = SecondCopy(free_bytes, next(iter(copies), ""))
        self._errors: dict[str, EdgeoptError] = {}
        self._latencies_s: dict[str, float] = {}
        """Shortest warm-up latency of each artifact; used to plan rounds."""
        self._walls_s: list[float] = []
        """Wall time of each complete launch."""
        self._open: list[Conversation] = []
        self._stopped = False
        self._number = earlier.number
        """Number of the next launch."""
        self._whole = earlier.whole
        """Number of launches with all rounds; one that was interrupted and continued counts once."""
        self._owed = earlier.owed
        """Number of rounds that an interrupted launch still has to time."""
        self._cuts = 0
        self._lost: EdgeoptError | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the artifacts to measure."""
        return tuple(subject.name for subject in self._subjects)

    @property
    def stopped(self) -> bool:
        """Whether the user stopped the session."""
        return self._stopped

    @property
    def design(self) -> Design:
        """Everything besides the samples that the verdicts of this session depend on."""
        count = len(self._subjects)
        pairs = count * (count - 1) // 2 if self._settings.rank else count - 1
        wall_s = statistics.fmean(self._walls_s) if self._walls_s else 0.0
        cut = self._number - self._whole
        return Design(self._settings.max_launches, max(1, pairs), self._control(), cut, wall_s)

    @property
    def control_problem(self) -> str:
        """Why the control is missing or ended early; empty if nothing went wrong."""
        return self._copy.problem

    @property
    def lost(self) -> EdgeoptError | None:
        """Error after which the device was given up and measuring ended; None if it was not."""
        return self._lost

    def run(self) -> dict[str, Measurement]:
        """Measure every artifact and return the results by name; a failed one has its error."""
        while not self._stopped and self._lost is None and (wanted := self._wanted()):
            self._launch_or_reconnect(wanted)
        return self.outcomes()

    def stop(self) -> None:
        """Stop the session from another thread; keep the results so far."""
        self._stopped = True
        self._close()

    def outcomes(self) -> dict[str, Measurement]:
        """Return the results so far, by name; artifacts that were never started are omitted."""
        started = [name for name in self.subjects if name in self._errors or name in self._untimed]
        return {name: self._measurement(name) for name in started}

    def _wanted(self) -> list[Subject]:
        """Return the subjects of the next launch: all at first, then the unclear ones and those compared with."""
        timed = [s for s in self._subjects if s.name not in self._errors and not self._is_untimed(s.name)]
        if self._whole < self._settings.min_launches or not timed:
            return timed
        if self._whole >= self._settings.max_launches:
            return []
        design = self.design
        if self._whole not in design.looks or self._owed:
            latest = max(self._latest(subject) for subject in timed)
            return [subject for subject in timed if self._latest(subject) == latest]
        names = {subject.name for subject in timed}
        fastest = min(names, key=self._fastest_first)
        yardstick = self._source if self._source in names else fastest
        unclear = self._unclear(names, yardstick, design)
        if self._settings.rank:
            unclear |= self._unclear(names, fastest, design)
        # The control is meaningless without its original.
        return [s for s in timed if unclear and s.name in {*unclear, yardstick, self._copy.original}]

    def _latest(self, subject: Subject) -> int:
        """Return the number of an artifact's latest launch."""
        return max((launch.number for launch in self._launches[subject.name]), default=-1)

    def _choose_copy(self, subjects: Sequence[Subject]) -> None:
        """Add a second copy of the fastest artifact from now on, if memory allows."""
        if len(subjects) < 2:  # noqa: PLR2004 - a single artifact is not compared
            return
        names = {subject.name: subject for subject in subjects}
        # A resumed session keeps its copy.
        original = self._copy.original if self._copy.original in names else min(names, key=self._fastest_first)
        self._copy.choose(names[original], {name: self._measurement(name).peak_bytes or 0 for name in names})
        if self._copy.name:
            self._launches.setdefault(self._copy.name, [])

    def _control(self) -> Control | None:
        """Return how much the second copy differs so far; None without a copy or a shared launch."""
        if not self._copy.name:
            return None
        launches = launch_effects(self._measurement(self._copy.name), self._measurement(self._copy.original))
        return check_control(self._copy.original, launches)

    def _launch_or_reconnect(self, subjects: list[Subject]) -> None:
        """Run one launch; if the connection is lost, reconnect."""
        try:
            self._launch(subjects)
        except LinkLostError as error:
            self._close()
            self._take_up_again(error)
        except BaseException:
            self._stopped = True
            raise
        finally:
            self._close()

    def _take_up_again(self, error: LinkLostError) -> None:
        """Reconnect; if that fails, give the device up and fail artifacts with too few launches."""
        self._cuts += 1
        failure: EdgeoptError = error
        if self._reconnect is not None and self._cuts <= MOST_CUTS and not self._stopped:
            try:
                self._reconnect()
            except EdgeoptError as lost:
                failure = lost
            else:
                return
        if self._whole < self._settings.min_launches:
            for subject in self._wanted():
                self._fail(subject, failure)
        self._lost = failure

    def _unclear(self, names: set[str], yardstick: str, design: Design) -> set[str]:
        """Return the artifacts not yet clearly compared with `yardstick`, plus it if there are any."""
        base = self._measurement(yardstick)
        found = {name for name in names - {yardstick} if _is_unclear(self._measurement(name), base, design)}
        return {*found, yardstick} if found else set()

    def _fastest_first(self, name: str) -> float:
        latency = summarise(self._measurement(name))
        return latency.median_s if latency else math.inf

    def _launch(self, subjects: list[Subject]) -> None:
        """Start one process per artifact, time them in shuffled rounds and keep the results."""
        begin = time.monotonic()
        number, self._number = self._number, self._number + 1
        if self._whole > 0 and self._copy.is_open:
            self._choose_copy(subjects)
        self._random.shuffle(subjects)
        processes = self._start_all(subjects)
        for process in processes:
            process.number = number
        timed = [process for process in processes if process.untimed is None]
        for process in processes:
            self._record({"launch": number, **process.loading_record()})
        try:
            is_whole = self._time_rounds(number, timed)
            for process in processes:
                if process.subject.name not in self._errors and self._try(process, Process.ask_memory):
                    self._record({"launch": number, **process.memory_record()})
            if is_whole:
                self._record({"launch": number, "whole": True})
                self._walls_s.append(time.monotonic() - begin)
        finally:  # results from before a crash or Ctrl-C still count
            for process in processes:
                self._facts[process.subject.name] = process.facts
                if launch := process.given():
                    self._launches[process.subject.name].append(launch)

    def _time_rounds(self, number: int, timed: list[Process]) -> bool:
        """Time processes side by side and return whether all rounds were completed.

        A process that fails is left out of the remaining rounds; if all fail, for example on a stop, timing ends.
        """
        settings = self._settings
        seconds, iterations = settings.seconds / settings.max_launches, settings.min_iterations / settings.min_launches
        rounds = plan_rounds(timed, seconds, iterations)
        self._owed = self._owed or rounds
        self._record({"launch": number, "rounds": self._owed})
        while self._owed:
            self._time_round(number, timed)
            timed = [process for process in timed if process.subject.name not in self._errors]
            if not timed:
                return False
            self._owed -= 1
        self._whole += 1
        return True

    def _time_round(self, number: int, timed: list[Process]) -> None:
        """Time one round; if the connection is lost, discard it for all artifacts."""
        self._random.shuffle(timed)
        done = {process.subject.name: len(process.rounds) for process in timed}
        try:
            for process in timed:
                self._try(process, self._time)
        except LinkLostError:
            for process in timed:
                del process.rounds[done[process.subject.name] :]
            raise
        fresh = {p.subject.name: p.rounds[-1] for p in timed if len(p.rounds) > done[p.subject.name]}
        if not self._stopped:
            self._record({"launch": number, "round": fresh})

    def _start_all(self, subjects: list[Subject]) -> list[Process]:
        """Start and warm up the processes of a launch, and the copy if its original takes part."""
        # Reported load times come from an artifact's first launch, in which nothing else loads. A resumed session
        # does not have latencies yet.
        is_first = not all(self._launches[subject.name] and subject.name in self._latencies_s for subject in subjects)
        at_once = 1 if is_first else self._settings.loads_at_once
        copy = self._copy.subject if self._copy.original in {subject.name for subject in subjects} else None
        if copy is None:
            return self._start(subjects, at_once)
        if self._launches[copy.name]:
            processes = self._start([*subjects, copy], at_once)
        else:
            processes = self._start(subjects, at_once)
            if self._copy.original not in self._errors:
                # The first time, the copy starts last: if a resource is too scarce for both, the artifact gets it.
                processes += self._start([copy], 1)
        if untimed := self._untimed.get(copy.name):
            self._copy.fail(untimed)
        return processes

    def _start(self, subjects: list[Subject], at_once: int) -> list[Process]:
        """Start and warm up processes, at most `at_once` at a time; omit those that fail."""
        with ThreadPoolExecutor(at_once) as pool:
            try:
                started = [process for process in pool.map(self._start_one, subjects) if process is not None]
            except LinkLostError:
                pool.shutdown(wait=False, cancel_futures=True)
                self._close()
                raise
            except BaseException:  # Ctrl-C: end the processes, so that the threads waiting for them end too
                pool.shutdown(wait=False, cancel_futures=True)
                self._stopped = True
                self._close()
                raise
        is_disturbed = min(at_once, len(subjects)) > 1  # by the start of another process
        for process in started:
            if is_disturbed and not process.steady:
                self._try(process, self._warm)
        return [process for process in started if process.subject.name not in self._errors]

    def _start_one(self, subject: Subject) -> Process | None:
        """Start and warm up a process; return None if it fails."""
        process = self._load_one(subject)
        return process if process and self._try(process, self._warm) else None

    def _load_one(self, subject: Subject) -> Process | None:
        self._tell(subject.name, "loading")
        try:
            channel = subject.launch()
            self._open.append(channel)
            if self._stopped:  # the other processes were closed while this one started
                channel.close()
            process = Process.load(subject, channel, self._settings.threads, self._settings.timeout_s)
        except LinkLostError:  # not this artifact's fault
            raise
        except (EdgeoptError, *UNUSABLE) as error:
            self._fail(subject, error)
            return None
        self._untimed[subject.name], self._facts[subject.name] = process.untimed, process.facts
        return process

    def _try(self, process: Process, step: Callable[[Process], None]) -> bool:
        """Run one step of a process and return whether it succeeded; if not, fail the artifact."""
        try:
            step(process)
        except LinkLostError:  # not this artifact's fault
            raise
        except (EdgeoptError, *UNUSABLE) as error:
            self._fail(process.subject, error)
            process.channel.close()
            return False
        return True

    def _fail(self, subject: Subject, error: Exception) -> None:
        """Record the error of an artifact; during a stop, that is a `StoppedError`."""
        self._errors[subject.name] = StoppedError("was stopped") if self._stopped else as_error(error)
        if subject is self._copy.subject and not self._stopped:
            self._copy.fail(self._errors[subject.name].message)

    def _tell(self, name: str, text: str) -> None:
        if not name.startswith(PREFIX):  # the user did not request the copy
            self._progress(name, text)

    def _warm(self, process: Process) -> None:
        if process.untimed is None:
            name = process.subject.name
            self._tell(name, "warming up")
            process.warm()
            # The start of another process may have slowed the warm-up; that must not shorten the rounds.
            self._latencies_s[name] = process.latency_s = min(process.latency_s, self._latencies_s.get(name, math.inf))

    def _time(self, process: Process) -> None:
        if not process.rounds:
            self._tell(process.subject.name, f"measuring, launch {process.number + 1}{self._left()}")
        process.time()

    def _left(self) -> str:
        """Return the maximum launches and the time per launch as the end of a sentence; empty at first."""
        if not self._walls_s:
            return ""
        return f" of at most {self._settings.max_launches}, about {self._walls_s[-1]:.0f} s each"

    def _is_untimed(self, name: str) -> bool:
        return self._untimed.get(name) is not None

    def _measurement(self, name: str) -> Measurement:
        return Measurement(
            name,
            self._settings.threads,
            tuple(self._launches[name]),
            untimed=self._untimed.get(name),
            facts=self._facts.get(name, {}),
            error=self._errors.get(name),
        )

    def _close(self) -> None:
        """End all processes; another thread may do so too, so pop without checking first."""
        while True:
            try:
                channel = self._open.pop()
            except IndexError:
                return
            channel.close()


def _is_unclear(measurement: Measurement, other: Measurement, design: Design) -> bool:
    speedup = compare(measurement, other, design)
    return speedup is not None and not speedup.is_decided
