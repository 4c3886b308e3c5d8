"""One running harness: the messages to it, and its results so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edgeopt.errors import DeviceError, EdgeoptError, full_disk, in_words
from edgeopt.measure.measurement import Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

WARM_S = 1.0
LEAST_S, MOST_S = 1e-9, 1e9
"""Limits of every latency; the harness counts nanoseconds."""
MOST = 2**63
"""Exclusive limit of valid nanoseconds and bytes."""
UNUSABLE = (KeyError, TypeError, ValueError)
"""Exceptions from reading a forged answer."""


class Conversation(Protocol):
    """The part of a channel that a session needs."""

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
    """One artifact to measure; the paths are on the device."""

    name: str
    launch: Callable[[], Conversation]
    runner: str
    artifact: str
    feeds: str
    device: str = ""
    """Address of another machine, whose disk may be full; empty on this one."""


@dataclass(slots=True)
class Process:
    """A harness that has loaded its artifact."""

    subject: Subject
    channel: Conversation
    timeout_s: float | None
    load_s: float
    untimed: str | None
    facts: dict[str, Any]
    number: int = 0
    """Number of the launch."""
    first_s: float = 0.0
    latency_s: float = 0.0
    steady: bool = False
    iterations: int = 0
    """Inferences per round."""
    settle: int = 0
    rounds: list[tuple[int, ...]] = field(default_factory=list)
    peak_bytes: int | None = None
    model_bytes: int | None = None

    @classmethod
    def load(cls, subject: Subject, channel: Conversation, threads: int, timeout_s: float | None) -> Process:
        """Load an artifact in a new harness.

        Raises:
            DeviceError: The artifact does not load, or the process has ended.
        """
        message = {"op": "load", "runner": subject.runner, "artifact": subject.artifact, "threads": threads}
        loaded = accepted(channel.ask(message, timeout_s), "does not load", channel.log_path, subject.device)
        untimed = loaded["untimed"]
        if untimed is not None and not isinstance(untimed, str):
            raise TypeError("untimed is no text")
        return cls(subject, channel, timeout_s, _time(loaded["load_s"]), untimed, dict(loaded["facts"]))

    def warm(self) -> None:
        """Set one feed and invoke until the latency is steady."""
        self._ask({"op": "feed", "feeds": self.subject.feeds, "index": 0}, "takes no feed")
        warm = self._ask({"op": "warm", "seconds": WARM_S}, "does not run")
        self.first_s, self.latency_s = _time(warm["first_s"]), _time(warm["latency_s"], LEAST_S)
        self.steady = bool(warm["steady"])

    def time(self) -> None:
        """Time one round."""
        answer = self._ask({"op": "time", "iterations": self.iterations, "settle": self.settle}, "does not run")
        samples_ns = tuple(answer["samples_ns"])
        if len(samples_ns) != self.iterations or not all(_is_whole(ns) and ns > 0 for ns in samples_ns):
            raise ValueError("its samples are no times")
        self.rounds.append(samples_ns)

    def ask_memory(self) -> None:
        """Query the memory of the process and the facts of its runner."""
        memory = self._ask({"op": "memory"}, "failed")
        self.facts = {**self.facts, **memory["facts"]}
        sizes = memory["peak_bytes"], memory["model_bytes"]
        if not all(map(_is_whole, sizes)):
            raise ValueError("its memory is no size")
        self.peak_bytes, self.model_bytes = sizes

    def given(self) -> Launch | None:
        """Return the results of this launch; None if it ended before its first round."""
        if not self.rounds and self.peak_bytes is None:
            return None
        return Launch(
            number=self.number,
            load_s=self.load_s,
            first_s=self.first_s,
            steady=self.steady,
            rounds=tuple(self.rounds),
            peak_bytes=self.peak_bytes,
            model_bytes=self.model_bytes,
        )

    def loading_record(self) -> dict[str, Any]:
        """Return the journal record of loading and warming up."""
        return {
            "process": self.subject.name,
            "load_s": self.load_s,
            "first_s": self.first_s,
            "steady": self.steady,
            "untimed": self.untimed,
            "facts": self.facts,
        }

    def memory_record(self) -> dict[str, Any]:
        """Return the journal record of the memory of the process."""
        return {
            "memory": self.subject.name,
            "peak_bytes": self.peak_bytes,
            "model_bytes": self.model_bytes,
            "facts": self.facts,
        }

    def _ask(self, message: dict[str, Any], what: str) -> dict[str, Any]:
        answer = self.channel.ask(message, self.timeout_s)
        return accepted(answer, what, self.channel.log_path, self.subject.device)


def as_error(error: Exception) -> EdgeoptError:
    """Return the error of an artifact; an unusable answer becomes a DeviceError."""
    return error if isinstance(error, EdgeoptError) else DeviceError(f"its answer cannot be used: {in_words(error)}")


def accepted(
    answer: dict[str, Any], what: str, log: Path, device: str = "", kind: type[EdgeoptError] = DeviceError
) -> dict[str, Any]:
    """Return an answer of a harness, unless it reports a failure.

    Args:
        answer: The answer.
        what: Beginning of the error message.
        log: Log of the harness, with the details.
        device: Address of the other machine that it runs on; empty on this one.
        kind: Class of the error to raise.

    Raises:
        EdgeoptError: The harness reported a failure; a full disk has its own error.
    """
    if "error" in answer:
        message = answer["error"]["message"]
        raise full_disk(message, device) or kind(f"{what}: {message}", log=str(log))
    return answer


def _time(value: Any, least_s: float = 0.0) -> float:
    """Return a time from an answer, in seconds.

    Raises:
        ValueError, TypeError: It is not a valid time.
    """
    if isinstance(value, bool) or not least_s <= value < MOST_S:
        raise ValueError("its times are none")
    return float(value)


def _is_whole(value: Any) -> bool:
    """Return whether a value from an answer is an integer from 0 to below `MOST`."""
    return type(value) is int and 0 <= value < MOST
