"""Measures several artifacts side by side: a few launches of each, and in every launch shuffled rounds.

A session knows no device: it is given, per artifact, a function that starts the harness and returns the conversation
with it. What goes wrong with one artifact is that artifact's error; the others go on.
"""

from __future__ import annotations

import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edgeopt.errors import DeviceError, EdgeoptError, full_disk, in_words
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.stats import compare, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MIN_LAUNCHES = 3
MAX_LAUNCHES = 8
MIN_ROUNDS = 8
MAX_ROUNDS = 30
MIN_CHUNK = 3
"""Fewest iterations in a round: fewer would be at the mercy of one interruption."""
CHUNK_S = 0.005
"""Shortest stretch that an artifact is timed for before another one gets the caches."""
SETTLE_S = 0.001
"""How long it may then run unrecorded to get them back."""
WARM_S = 1.0
UNUSABLE = (KeyError, TypeError, ValueError)
"""What reading a forged answer raises."""


class Conversation(Protocol):
    """What a session needs of a channel."""

    log_path: Path

    def ask(
        self,
        message: Mapping[str, Any],
        timeout_s: float | None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Return the answer to a message."""
        ...

    def close(self) -> None:
        """End the process at the other end."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """One artifact that is to be measured; the paths are the device's."""

    name: str
    launch: Callable[[], Conversation]
    runner: str
    artifact: str
    feeds: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how to measure.

    An artifact is timed for about `seconds` at most: each launch takes an equal part of what all possible launches may
    take, and an obvious comparison needs few of them. `min_iterations` are spread over the first launches; of a slow
    artifact (more than `seconds / min_iterations` for one inference) they take longer than `seconds`, and each added
    launch repeats its share.
    """

    seconds: float = 2.0
    min_iterations: int = 100
    threads: int = 1
    seed: int = 0
    timeout_s: float | None = 600.0
    loads_at_once: int = 2
    min_launches: int = MIN_LAUNCHES
    max_launches: int = MAX_LAUNCHES
    rank: bool = False
    """Whether each artifact's place against the fastest must be clear too, and not only against the source."""


@dataclass(slots=True)
class _Process:
    """One running harness, and what it has said so far."""

    subject: Subject
    channel: Conversation
    load_s: float
    untimed: str | None
    facts: dict[str, Any]
    number: int = 0
    """Of the launch."""
    first_s: float = 0.0
    latency_s: float = 0.0
    steady: bool = False
    iterations: int = 0
    """Per round."""
    settle: int = 0
    rounds: list[tuple[int, ...]] = field(default_factory=list)
    peak_bytes: int | None = None
    model_bytes: int | None = None


class Session:
    """One measurement of several artifacts on one device.

    Args:
        subjects: What is measured; the first is the source that all others are compared with.
        settings: How long and how to measure.
        progress: Is told, by artifact, what is going on.
    """

    def __init__(
        self, subjects: Sequence[Subject], settings: Settings, progress: Callable[[str, str], None] | None = None
    ) -> None:
        self._settings = settings
        self._tell = progress or (lambda _name, _text: None)
        self._source = subjects[0].name
        # Sorted, so that the order in which targets were named cannot decide anything.
        self._subjects = sorted(subjects, key=lambda subject: subject.name)
        self._random = random.Random(settings.seed)  # noqa: S311 - it shuffles, it keeps no secret
        self._launches: dict[str, list[Launch]] = {subject.name: [] for subject in subjects}
        self._last: dict[str, _Process] = {}
        self._errors: dict[str, EdgeoptError] = {}
        self._open: list[Conversation] = []
        self._stopped = False

    @property
    def subjects(self) -> tuple[str, ...]:
        """The names of what is measured."""
        return tuple(subject.name for subject in self._subjects)

    @property
    def stopped(self) -> bool:
        """Whether the user ended it."""
        return self._stopped

    def run(self) -> dict[str, Measurement]:
        """Measure everything and return, by name, what came of it; an artifact that failed has its error."""
        for number in range(self._settings.max_launches):
            wanted = self._wanted(number)
            if not wanted:
                break
            try:
                self._launch(number, wanted)
            except BaseException:
                self._stopped = True
                raise
            finally:
                self._close()
        return self.outcomes()

    def outcomes(self) -> dict[str, Measurement]:
        """Return what came of every artifact so far; one that was never started has no entry."""
        started = [name for name in self._launches if name in self._errors or name in self._last]
        return {name: self._measurement(name) for name in started}

    def _wanted(self, number: int) -> list[Subject]:
        """Return what launch `number` is for: everything at first, then only what is still unclear, and the source."""
        timed = [s for s in self._subjects if s.name not in self._errors and not self._is_untimed(s.name)]
        if number < self._settings.min_launches:
            return timed
        names = {subject.name for subject in timed}
        if self._source not in names:
            return []
        unclear = self._unclear(names, self._source)
        if self._settings.rank:
            unclear |= self._unclear(names, min(names, key=self._fastest_first))
        return [subject for subject in timed if unclear and subject.name in {*unclear, self._source}]

    def _unclear(self, names: set[str], yardstick: str) -> set[str]:
        """Return the artifacts that cannot be told from one of them yet, and that one if there are any."""
        base = self._measurement(yardstick)
        found = {name for name in names - {yardstick} if _is_unclear(self._measurement(name), base)}
        return {*found, yardstick} if found else set()

    def _fastest_first(self, name: str) -> float:
        latency = summarise(self._measurement(name))
        return latency.median_s if latency else math.inf

    def _launch(self, number: int, subjects: list[Subject]) -> None:
        """Start one process of each artifact, time them in shuffled rounds and keep what they gave."""
        self._random.shuffle(subjects)
        # The load times that are reported come from the first launch, where nothing else is loading.
        processes = self._load(subjects, 1 if number == 0 else self._settings.loads_at_once)
        for process in processes:
            process.number = number
        processes = [process for process in processes if self._try(process, self._warm)]
        timed = [process for process in processes if process.untimed is None]
        try:
            self._time_rounds(timed)
            for process in processes:
                if process.subject.name not in self._errors:
                    self._try(process, self._ask_memory)
        finally:  # what came before an end, by a crash or by Ctrl-C, still counts
            for process in processes:
                self._keep(process)

    def _time_rounds(self, timed: list[_Process]) -> None:
        """Time processes side by side; one that fails takes no part in the rounds that are left."""
        for _ in range(plan_rounds(timed, self._settings)):
            self._random.shuffle(timed)
            for process in timed:
                self._try(process, self._time)
            timed = [process for process in timed if process.subject.name not in self._errors]

    def _load(self, subjects: list[Subject], at_once: int) -> list[_Process]:
        """Start the processes and let them load; those that fail are left out."""
        with ThreadPoolExecutor(at_once) as pool:
            try:
                return [process for process in pool.map(self._load_one, subjects) if process is not None]
            except BaseException:  # a Ctrl-C: end the processes, so that the threads which wait for them end too
                pool.shutdown(wait=False, cancel_futures=True)
                self._stopped = True
                self._close()
                raise

    def _load_one(self, subject: Subject) -> _Process | None:
        self._tell(subject.name, "loading")
        try:
            channel = subject.launch()
            self._open.append(channel)
            if self._stopped:  # while it was starting, the others were ended already
                channel.close()
            message = {
                "op": "load",
                "runner": subject.runner,
                "artifact": subject.artifact,
                "threads": self._settings.threads,
            }
            loaded = _answer(channel.ask(message, self._settings.timeout_s), "does not load", channel)
            process = _Process(subject, channel, loaded["load_s"], loaded["untimed"], loaded["facts"])
        except (EdgeoptError, *UNUSABLE) as error:
            self._errors[subject.name] = as_error(error)
            return None
        self._last[subject.name] = process
        return process

    def _try(self, process: _Process, step: Callable[[_Process], None]) -> bool:
        """Do one step with a process and return whether it went well; else the artifact has failed."""
        try:
            step(process)
        except (EdgeoptError, *UNUSABLE) as error:
            self._errors[process.subject.name] = as_error(error)
            process.channel.close()
            return False
        return True

    def _warm(self, process: _Process) -> None:
        """Make a feed ready and invoke until the latency is steady."""
        if process.untimed is not None:
            return
        self._tell(process.subject.name, "warming up")
        settings = self._settings
        feeding = {"op": "feed", "feeds": process.subject.feeds, "index": 0}
        _answer(process.channel.ask(feeding, settings.timeout_s), "takes no feed", process.channel)
        warming = {"op": "warm", "seconds": WARM_S}
        warm = _answer(process.channel.ask(warming, settings.timeout_s), "does not run", process.channel)
        process.first_s, process.latency_s, process.steady = warm["first_s"], warm["latency_s"], warm["steady"]

    def _time(self, process: _Process) -> None:
        """Time one round."""
        if not process.rounds:
            self._tell(process.subject.name, f"measuring, launch {process.number + 1}")
        message = {"op": "time", "iterations": process.iterations, "settle": process.settle}
        answer = _answer(process.channel.ask(message, self._settings.timeout_s), "does not run", process.channel)
        process.rounds.append(tuple(answer["samples_ns"]))

    def _ask_memory(self, process: _Process) -> None:
        """Ask what memory the process took, and what its runner found."""
        memory = _answer(process.channel.ask({"op": "memory"}, self._settings.timeout_s), "failed", process.channel)
        process.facts = {**process.facts, **memory["facts"]}
        process.peak_bytes, process.model_bytes = memory["peak_bytes"], memory["model_bytes"]

    def _keep(self, process: _Process) -> None:
        """Keep what a launch gave; one that ended before its first round gave nothing."""
        if not process.rounds and process.peak_bytes is None:
            return
        launch = Launch(
            number=process.number,
            load_s=process.load_s,
            first_s=process.first_s,
            steady=process.steady,
            rounds=tuple(process.rounds),
            peak_bytes=process.peak_bytes,
            model_bytes=process.model_bytes,
        )
        self._launches[process.subject.name].append(launch)

    def _is_untimed(self, name: str) -> bool:
        return name in self._last and self._last[name].untimed is not None

    def _measurement(self, name: str) -> Measurement:
        last = self._last.get(name)
        return Measurement(
            name,
            self._settings.threads,
            tuple(self._launches[name]),
            untimed=last.untimed if last else None,
            facts=last.facts if last else {},
            error=self._errors.get(name),
        )

    def _close(self) -> None:
        """End all processes."""
        while self._open:
            self._open.pop().close()


def plan_rounds(processes: Sequence[_Process], settings: Settings) -> int:
    """Set how many iterations each process runs per round, and return how many rounds a launch has.

    All have the same number of rounds, so the slowest decides it: it needs a few iterations in each.
    """
    if not processes:
        return 0
    seconds = settings.seconds / settings.max_launches
    iterations = settings.min_iterations / settings.min_launches
    needed = {id(process): max(seconds / process.latency_s, iterations) for process in processes}
    possible = min(min(needed.values()) / MIN_CHUNK, seconds / CHUNK_S)
    rounds = max(MIN_ROUNDS, min(MAX_ROUNDS, int(possible)))
    for process in processes:
        process.iterations = max(MIN_CHUNK, math.ceil(needed[id(process)] / rounds))
        process.settle = max(1, math.ceil(SETTLE_S / process.latency_s))
    return rounds


def _is_unclear(measurement: Measurement, source: Measurement) -> bool:
    speedup = compare(measurement, source)
    return speedup is not None and not speedup.clear


def as_error(error: Exception) -> EdgeoptError:
    """Return what an artifact failed with; an answer that only looks like one is its fault too."""
    return error if isinstance(error, EdgeoptError) else DeviceError(f"its answer cannot be used: {in_words(error)}")


def _answer(answer: dict[str, Any], what: str, channel: Conversation) -> dict[str, Any]:
    """Return `answer`, or raise what it says went wrong."""
    if "error" in answer:
        message = answer["error"]["message"]
        raise full_disk(message) or DeviceError(f"{what}: {message}", log=str(channel.log_path))
    return answer
