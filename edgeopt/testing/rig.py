"""One artifact in the real harness, in its own process."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.devices.channel import ChannelClosed, ChannelTimeout
from edgeopt.devices.proctree import tree_rss_bytes
from edgeopt.errors import EdgeoptError
from edgeopt.pipeline.evaluating import read_outputs

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edgeopt.contract import Array
    from edgeopt.devices.channel import Channel

QUIT_S = 5.0
"""Maximum time for a process to exit by itself, in seconds."""


class RunnerError(EdgeoptError):
    """A runner raised, or its process died; the message names the step."""


@dataclass(slots=True)
class Rig:
    """A loaded artifact.

    Args:
        channel: Connection to the harness.
        scratch: An empty folder for outputs.
        timeout_s: Maximum time of one response, in seconds.
    """

    channel: Channel
    scratch: Path
    timeout_s: float
    untimed: str | None = None
    """The runner's reason why its time is meaningless here, or None."""
    _answers: int = field(default=0)

    def load(self, runner: Path, artifact: Path, threads: int) -> None:
        """Load the artifact with the runner.

        Raises:
            RunnerError: The artifact does not load.
        """
        said = self._ask("load", runner=str(runner), artifact=str(artifact), threads=threads)
        self.untimed = said["untimed"]

    def feed(self, feeds: Path) -> None:
        """Prepare the first feed of a folder."""
        self._ask("feed", feeds=str(feeds))

    def times_s(self, iterations: int) -> list[float]:
        """Return the time of each of `iterations` invokes, in seconds."""
        return [sample / 1e9 for sample in self._ask("time", iterations=iterations)["samples_ns"]]

    def answers(self, feeds: Path) -> dict[str, Array]:
        """Return the outputs for all feeds of a folder: output name to array; the first axis is the sample."""
        self._answers += 1
        out = self.scratch / str(self._answers)
        self._ask("evaluate", feeds=str(feeds), out=str(out))
        return read_outputs(out)

    def operators(self, runner: Path, artifact: Path, threads: int, feeds: Path, seconds: float) -> Any:
        """Return the result of a runner file's `operators`, or None if it is not defined; works without `load`."""
        paths = {"runner": str(runner), "artifact": str(artifact), "feeds": str(feeds)}
        return self._ask("operators", **paths, threads=threads, seconds=seconds)["operators"]

    def rss_bytes(self) -> int:
        """Return the resident memory of the process and its descendants, in bytes."""
        return tree_rss_bytes(self.channel.pid)

    def wanted_ns(self) -> Counter[int]:
        """Return the nanoseconds that each thread ran or waited for a CPU; empty if the system does not report them.

        Waiting counts: on a busy machine, two threads that are ready at the same time may share one CPU.
        """
        found: Counter[int] = Counter()
        for thread in Path(f"/proc/{self.channel.pid}/task").glob("*"):
            with suppress(OSError, ValueError):  # a thread may end at any moment
                ran_ns, waited_ns, _ = (thread / "schedstat").read_text("ascii").split()
                found[int(thread.name)] = int(ran_ns) + int(waited_ns)
        return found

    def quit(self) -> str:
        """Ask the process to exit, and return the outcome; `ended with exit code 0` is correct."""
        with suppress(RunnerError):
            self._ask("quit")
        try:
            self.channel.ask({"op": "memory"}, QUIT_S)
        except ChannelClosed as error:
            return error.reason
        except ChannelTimeout:
            return f"still ran {QUIT_S:g} s later"
        finally:
            self.channel.close()
        return "went on answering"  # pragma: no cover - the harness answers nothing after `quit`

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    def _ask(self, step: str, **arguments: Any) -> dict[str, Any]:
        log = str(self.channel.log_path)
        try:
            answer = self.channel.ask({"op": step, **arguments}, self.timeout_s, renew=True)
        except (ChannelClosed, ChannelTimeout) as error:
            self.channel.close()
            raise RunnerError(f"at {step!r} its process {error.message}", log=log) from error
        if "error" in answer:
            raise RunnerError(f"at {step!r} it raised {answer['error']['message']}", log=log)
        return answer
