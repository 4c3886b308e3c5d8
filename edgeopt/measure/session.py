"""Measures several artifacts side by side: a few launches of each, and in every launch shuffled rounds.

A session knows no device: it is given, per artifact, a function that starts the harness and returns the conversation
with it. What goes wrong with one artifact is that artifact's error; the others go on.
"""

from __future__ import annotations

import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeopt.errors import EdgeoptError, LinkLostError, StoppedError
from edgeopt.measure.journal import Earlier
from edgeopt.measure.measurement import Measurement
from edgeopt.measure.process import UNUSABLE, Process, as_error
from edgeopt.measure.stats import summarise
from edgeopt.measure.verdicts import LAUNCH_S, MIN_LAUNCHES, Design, check_control, compare, launch_effects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeopt.measure.journal import Journal
    from edgeopt.measure.process import Conversation, Subject
    from edgeopt.measure.verdicts import Control

MIN_ROUNDS = 8
MAX_ROUNDS = 75
MIN_CHUNK = 2
"""Fewest iterations in a round."""
CHUNK_S = 0.002
"""Shortest stretch that an artifact is timed for before another one gets the caches.

What a neighbour on a shared machine does to the clock or the caches lasts for tens of milliseconds. The shorter the
stretch, the more it is the same for both sides of a comparison.
"""
TWIN = "second copy of "
"""How the name of a control begins; no target is called so."""
MOST_CUTS = 5
"""How often the link may be lost before the device is given up."""
SETTLE_S = 0.001
"""How long it may then run unrecorded to get them back."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how to measure.

    An artifact is timed for about `seconds` at most, in launches of a quarter of a second, or in at least
    `min_launches` shorter ones. An obvious comparison needs few of them. `min_iterations` are spread over the first
    launches; of a slow artifact (more than `seconds / min_iterations` for one inference) they take longer than
    `seconds`, and each added launch repeats its share.
    """

    seconds: float = 2.0
    min_iterations: int = 100
    threads: int = 1
    seed: int = 0
    timeout_s: float | None = 600.0
    loads_at_once: int = 2
    min_launches: int = MIN_LAUNCHES
    rank: bool = False
    """Whether each artifact's place against the fastest must be clear too, and not only against the source."""

    @property
    def max_launches(self) -> int:
        """How many launches of an artifact there may be."""
        return max(self.min_launches, round(self.seconds / LAUNCH_S))


class Session:
    """One measurement of several artifacts on one device.

    Args:
        subjects: What is measured.
        settings: How long and how to measure.
        progress: Is told, by artifact, what is going on.
        source: The name of the subject that all others are compared with; the fastest when it is none of them.
        reconnect: Reaches the device again after its link was lost; None where it has no link. The round that was cut
            is thrown away for all, and the rounds that are left are measured afterwards.
        journal: Is told everything as it comes, and knows what an earlier run has given.
        free_bytes: The memory that all processes together may take; None if it is not known.
    """

    def __init__(  # noqa: PLR0913 - what is measured, how, and who is told
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
        # Sorted, so that the order in which targets were named cannot decide anything.
        self._subjects = sorted(subjects, key=lambda subject: subject.name)
        self._random = random.Random(settings.seed)  # noqa: S311 - it shuffles, it keeps no secret
        earlier = (journal and journal.earlier) or Earlier()
        self._record: Callable[[Mapping[str, Any]], None] = journal.append if journal else lambda _record: None
        self._launches = {subject.name: earlier.launches.get(subject.name, []) for subject in subjects}
        self._untimed = {name: earlier.untimed.get(name) for name, launches in self._launches.items() if launches}
        """Of what was loaded at least once: why its time would mean nothing."""
        self._facts = {name: earlier.facts.get(name, {}) for name in self._untimed}
        self._free_bytes = free_bytes
        self._twin: Subject | None = None
        """The control: a second copy of the fastest artifact, from the second launch on."""
        self.control_problem = ""
        """Why there is no control."""
        self._errors: dict[str, EdgeoptError] = {}
        self._open: list[Conversation] = []
        self._stopped = False
        self._number = earlier.number
        """Of the next launch."""
        self._whole = earlier.whole
        """How many launches have all their rounds, those counted once that were cut and taken up again."""
        self._owed = earlier.owed
        """How many rounds a launch that was cut has still to give."""
        self._cuts = 0
        self._lost: EdgeoptError | None = None
        for name in earlier.launches:
            if name.startswith(TWIN):
                self._add_twin(name.removeprefix(TWIN), earlier)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The names of what is measured."""
        return tuple(subject.name for subject in self._subjects)

    @property
    def stopped(self) -> bool:
        """Whether the user ended it."""
        return self._stopped

    @property
    def design(self) -> Design:
        """What the verdicts of this session depend on besides the samples."""
        count = len(self._subjects)
        pairs = count * (count - 1) // 2 if self._settings.rank else count - 1
        return Design(self._settings.max_launches, max(1, pairs), self._control())

    @property
    def lost(self) -> EdgeoptError | None:
        """Why the device was given up, so that no more was measured; None where it was not."""
        return self._lost

    def run(self) -> dict[str, Measurement]:
        """Measure everything and return, by name, what came of it; an artifact that failed has its error."""
        while not self._stopped and self._lost is None and (wanted := self._wanted()):
            self._launch_or_reconnect(self._with_twin(wanted))
        return self.outcomes()

    def stop(self) -> None:
        """End it, from another thread; what was measured stays."""
        self._stopped = True
        self._close()

    def outcomes(self) -> dict[str, Measurement]:
        """Return what came of every artifact so far; one that was never started has no entry."""
        started = [name for name in self.subjects if name in self._errors or name in self._untimed]
        return {name: self._measurement(name) for name in started}

    def _wanted(self) -> list[Subject]:
        """Return what the next launch is for: everything at first, then only what is still unclear, and the source."""
        timed = [s for s in self._subjects if s.name not in self._errors and not self._is_untimed(s.name)]
        if self._whole < self._settings.min_launches or not timed:
            return timed
        if self._whole >= self._settings.max_launches:
            return []
        design = self.design
        if self._whole not in design.looks:
            latest = max(self._latest(subject) for subject in timed)
            return [subject for subject in timed if self._latest(subject) == latest]
        names = {subject.name for subject in timed}
        fastest = min(names, key=self._fastest_first)
        yardstick = self._source if self._source in names else fastest
        unclear = self._unclear(names, yardstick, design)
        if self._settings.rank:
            unclear |= self._unclear(names, fastest, design)
        return [subject for subject in timed if unclear and subject.name in {*unclear, yardstick}]

    def _latest(self, subject: Subject) -> int:
        """Return the number of the last launch of an artifact."""
        return max((launch.number for launch in self._launches[subject.name]), default=-1)

    def _with_twin(self, subjects: list[Subject]) -> list[Subject]:
        """Return the subjects of a launch, and the control if the artifact that it is a copy of is among them."""
        if self._twin is None and not self.control_problem and self._whole > 0:
            self._choose_twin(subjects)
        if self._twin is None or self._twin.name in self._errors:
            return subjects
        original = self._twin.name.removeprefix(TWIN)
        return [*subjects, self._twin] if any(subject.name == original for subject in subjects) else subjects

    def _choose_twin(self, subjects: list[Subject]) -> None:
        """Let a second copy of the fastest artifact take part from now on, if there is memory for it."""
        if len(subjects) < 2:  # noqa: PLR2004 - one artifact alone is not compared
            return
        fastest = min((subject.name for subject in subjects), key=self._fastest_first)
        peaks = {subject.name: self._measurement(subject.name).peak_bytes or 0 for subject in subjects}
        needed = sum(peaks.values()) + peaks[fastest]
        if self._free_bytes is not None and needed > self._free_bytes:
            self.control_problem = f"{needed / 2**20:.0f} MiB needed, {self._free_bytes / 2**20:.0f} MiB free"
        else:
            self._add_twin(fastest, Earlier())

    def _add_twin(self, name: str, earlier: Earlier) -> None:
        """Add the control to what is measured, with what an earlier run has given of it."""
        original = next((subject for subject in self._subjects if subject.name == name), None)
        if original is not None:
            self._twin = replace(original, name=TWIN + name)
            self._launches[TWIN + name] = earlier.launches.get(TWIN + name, [])
            self._untimed[TWIN + name] = None

    def _control(self) -> Control | None:
        """Return what the control has shown so far; None if it has not been measured, or has failed."""
        if self._twin is None or self._twin.name in self._errors:
            return None
        original = self._twin.name.removeprefix(TWIN)
        launches = launch_effects(self._measurement(self._twin.name), self._measurement(original))
        return check_control(original, launches)

    def _launch_or_reconnect(self, subjects: list[Subject]) -> None:
        """Do one launch; when the link is lost on its way, reach the device again."""
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
        """Reach the device again; where that fails it is given up, and what has too few launches has failed."""
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
        """Return the artifacts that cannot be told from one of them yet, and that one if there are any."""
        base = self._measurement(yardstick)
        found = {name for name in names - {yardstick} if _is_unclear(self._measurement(name), base, design)}
        return {*found, yardstick} if found else set()

    def _fastest_first(self, name: str) -> float:
        latency = summarise(self._measurement(name))
        return latency.median_s if latency else math.inf

    def _launch(self, subjects: list[Subject]) -> None:
        """Start one process of each artifact, time them in shuffled rounds and keep what they gave."""
        number, self._number = self._number, self._number + 1
        self._random.shuffle(subjects)
        # The load times that are reported come from an artifact's first launch, where nothing else is loading.
        is_first = not all(self._launches[subject.name] for subject in subjects if subject is not self._twin)
        processes = self._load(subjects, 1 if is_first else self._settings.loads_at_once)
        for process in processes:
            process.number = number
        processes = [process for process in processes if self._try(process, self._warm)]
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
        finally:  # what came before an end, by a crash or by Ctrl-C, still counts
            for process in processes:
                self._facts[process.subject.name] = process.facts
                if launch := process.given():
                    self._launches[process.subject.name].append(launch)

    def _time_rounds(self, number: int, timed: list[Process]) -> bool:
        """Time processes side by side and return whether there were all rounds.

        One that fails takes no part in the rounds that are left; when all do, because they are being ended, none is.
        """
        rounds = plan_rounds(timed, self._settings)
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
        """Time one round; when the link is lost on its way, it is thrown away for all."""
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

    def _load(self, subjects: list[Subject], at_once: int) -> list[Process]:
        """Start the processes and let them load; those that fail are left out."""
        with ThreadPoolExecutor(at_once) as pool:
            try:
                return [process for process in pool.map(self._load_one, subjects) if process is not None]
            except LinkLostError:
                pool.shutdown(wait=False, cancel_futures=True)
                self._close()
                raise
            except BaseException:  # a Ctrl-C: end the processes, so that the threads which wait for them end too
                pool.shutdown(wait=False, cancel_futures=True)
                self._stopped = True
                self._close()
                raise

    def _load_one(self, subject: Subject) -> Process | None:
        self._tell(subject.name, "loading")
        try:
            channel = subject.launch()
            self._open.append(channel)
            if self._stopped:  # while it was starting, the others were ended already
                channel.close()
            process = Process.load(subject, channel, self._settings.threads, self._settings.timeout_s)
        except LinkLostError:  # it is not this artifact's fault
            raise
        except (EdgeoptError, *UNUSABLE) as error:
            self._fail(subject, error)
            return None
        self._untimed[subject.name], self._facts[subject.name] = process.untimed, process.facts
        return process

    def _try(self, process: Process, step: Callable[[Process], None]) -> bool:
        """Do one step with a process and return whether it went well; else the artifact has failed."""
        try:
            step(process)
        except LinkLostError:  # it is not this artifact's fault
            raise
        except (EdgeoptError, *UNUSABLE) as error:
            self._fail(process.subject, error)
            process.channel.close()
            return False
        return True

    def _fail(self, subject: Subject, error: Exception) -> None:
        """Keep what an artifact failed with; where all are being ended, it is that."""
        self._errors[subject.name] = StoppedError("was stopped") if self._stopped else as_error(error)
        if subject is self._twin and not self._stopped:
            self.control_problem = self._errors[subject.name].message

    def _tell(self, name: str, text: str) -> None:
        if not name.startswith(TWIN):  # nobody asked for it
            self._progress(name, text)

    def _warm(self, process: Process) -> None:
        if process.untimed is None:
            self._tell(process.subject.name, "warming up")
            process.warm()

    def _time(self, process: Process) -> None:
        if not process.rounds:
            self._tell(process.subject.name, f"measuring, launch {process.number + 1}")
        process.time()

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
        """End all processes; another thread may do so too, so nothing is looked at before it is taken."""
        while True:
            try:
                channel = self._open.pop()
            except IndexError:
                return
            channel.close()


def plan_rounds(processes: Sequence[Process], settings: Settings) -> int:
    """Set how many iterations each process runs per round, and return how many rounds a launch has.

    All have the same number of rounds, so the slowest decides it: it needs a few iterations in each.
    """
    if not processes:
        return 0
    seconds = settings.seconds / settings.max_launches
    least = settings.min_iterations / settings.min_launches
    slowest_s = max(process.latency_s for process in processes)
    possible = min(max(seconds / slowest_s, least) / MIN_CHUNK, seconds / CHUNK_S)
    rounds = max(MIN_ROUNDS, min(MAX_ROUNDS, int(possible)))
    for process in processes:
        in_time = int(seconds / process.latency_s / rounds)
        process.iterations = max(MIN_CHUNK, in_time, math.ceil(least / rounds))
        process.settle = max(1, math.ceil(SETTLE_S / process.latency_s))
    return rounds


def _is_unclear(measurement: Measurement, other: Measurement, design: Design) -> bool:
    speedup = compare(measurement, other, design)
    return speedup is not None and not speedup.is_decided
