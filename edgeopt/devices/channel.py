"""A channel to a child process: one JSON message per line in, one JSON answer per line out.

The child leads its own session: killing it also ends everything that it started, and Ctrl-C at the terminal reaches
only the host. A child must exit when its standard input closes, so that no process is left if the host is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from edgeopt.devices.proctree import marked, tree_rss_bytes
from edgeopt.errors import BadInputError, DeviceError, full_disk, last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edgeopt.devices.forked import ForkedProcess

LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 8192
WATCH_INTERVAL_S = 0.2
POLL_S = 0.5
EXIT_GRACE_S = 5.0
READ_BYTES = 1 << 16
MOST_BYTES = 1 << 28
"""Longer answers are rejected: they would fill the host's memory."""
MARK = "EDGEOPT_CHANNEL"
"""Environment variable that identifies the channel of a child and of everything that it starts."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")


class ChannelClosed(DeviceError):  # noqa: N818 - an event in the life of a channel; it is a DeviceError
    """The process ended or sent an invalid answer: `reason` describes how, `log_tail` holds its last lines."""

    def __init__(self, reason: str, log_tail: str = "", log: str = "", hint: str = "") -> None:
        super().__init__(reason, hint=hint or last_words(log_tail), log=log)
        self.reason = reason
        self.log_tail = log_tail


class ChannelGarbled(ChannelClosed):
    """The process sent an invalid answer: something in it prints to the stream reserved for answers."""


class ChannelTimeout(DeviceError):  # noqa: N818
    """The process did not answer in time and was killed; `log_tail` holds its last lines."""

    def __init__(self, timeout_s: float, log_tail: str = "", log: str = "") -> None:
        super().__init__(f"gave no answer within {timeout_s:g} s and was ended", hint=last_words(log_tail), log=log)
        self.timeout_s = timeout_s
        self.log_tail = log_tail


class Channel:
    """A child process that answers JSON messages.

    One thread asks at a time; any thread may call `close`, which makes a waiting `ask` raise `ChannelClosed`.

    Args:
        argv: The command; no shell is used.
        log: File to which the standard error of the process is appended.
        env: The whole environment; the host's own if None.
        memory_limit_bytes: Kill the process if it and its children hold more memory; None for no limit.
        cwd: Working folder of the process; the host's own if None.
        pass_fds: File descriptors that the process gets besides the usual three.

    Raises:
        DeviceError: The program cannot be started.
        BadInputError: The log cannot be written.
    """

    _chunk_bytes: ClassVar[int] = READ_BYTES

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        memory_limit_bytes: int | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log_path = log
        """The log that errors quote; change it when the process moves its own output to another file."""
        self._limit_bytes = memory_limit_bytes
        self._ended_because = ""
        self._hint = ""
        self._garbled = False
        self._closed = threading.Event()
        self._asking = threading.Lock()
        self._due: float | None = None
        """Deadline of the pending answer; None if no answer is pending, or without a time limit."""
        self._killing = threading.Lock()
        self._killed = False
        self._received = b""
        self._mark = f"{os.getpid()}-{uuid.uuid4().hex}"
        variables = {**(os.environ if env is None else env), MARK: self._mark}
        self._process = self._start(argv, log, variables, cwd=cwd, pass_fds=pass_fds)
        if memory_limit_bytes is not None:
            threading.Thread(target=self._watch_memory, args=(memory_limit_bytes,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The ID of the process, which is also the ID of its group."""
        return self._process.pid

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def ask(
        self,
        message: Mapping[str, Any],
        timeout_s: float | None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        *,
        renew: bool = False,
    ) -> dict[str, Any]:
        """Send a message and return its answer.

        Args:
            message: The question.
            timeout_s: Time to wait for the answer before the process is killed; None waits forever.
            on_event: Called with each line with the key `event` that comes before the answer.
            renew: Whether each event restarts the wait.

        Raises:
            ChannelClosed: The process ended or sent an invalid answer.
            ChannelTimeout: The answer did not come in time; the process was killed.
        """
        with self._asking:
            self._due = _deadline(timeout_s)
            try:
                self._send(message)
                while "event" in (answer := self._hear(timeout_s)):
                    if on_event is not None:
                        on_event(answer)
                    if renew:
                        self._due = _deadline(timeout_s)
            finally:
                self._due = None
            return answer

    def close(self) -> None:
        """Kill the process and everything that it started, and free the channel; may be called twice."""
        self._closed.set()
        self._kill()
        with self._asking:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(
        self, argv: Sequence[str], log: Path, env: Mapping[str, str], **settings: Any
    ) -> subprocess.Popen[bytes] | ForkedProcess:
        """Start the process in its own session, with its standard error in the log."""
        errors = open_log(log)
        try:
            return subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(env),
                start_new_session=True,
                **settings,
            )
        except OSError as error:
            raise DeviceError(f"{argv[0]} cannot be started: {error.strerror}", log=str(log)) from error
        finally:
            os.close(errors)

    def _hear(self, timeout_s: float | None) -> dict[str, Any]:
        """Return the next message of the process."""
        line = self._read_line(self._due)
        if line is None:
            self._kill()
            raise ChannelTimeout(timeout_s or 0.0, self._log_tail(), self._kept_log)
        return self._parse(line)

    def _send(self, message: Mapping[str, Any]) -> None:
        """Write one message; a broken pipe means that the process has ended."""
        if self._closed.is_set():
            raise self._closed_error()
        try:
            self._write(json.dumps(message).encode() + b"\n")
        except OSError:
            raise self._closed_error() from None

    def _write(self, line: bytes) -> None:
        """Write one line to the process."""
        if self._process.stdin is not None:
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read_line(self, deadline: float | None) -> bytes | None:
        """Return the next line, or None after the deadline."""
        stdout = self._process.stdout
        if stdout is None:  # pragma: no cover - always opened as a pipe
            raise self._closed_error()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            received = [self._received]
            while b"\n" not in received[-1]:
                left_s = POLL_S if deadline is None else min(POLL_S, deadline - time.monotonic())
                if left_s <= 0:
                    return None
                if selector.select(left_s):
                    chunk = os.read(stdout.fileno(), self._chunk_bytes)
                    if not chunk:
                        raise self._closed_error()
                    received.append(chunk)
                    if sum(map(len, received)) > MOST_BYTES:
                        raise self._garbled_error(b"".join(received[:2]))
                elif self._process.poll() is not None:  # a grandchild may hold the pipe open after the child's end
                    raise self._closed_error()
        line, _, self._received = b"".join(received).partition(b"\n")
        return line

    def _parse(self, line: bytes) -> dict[str, Any]:
        """Return a line as an answer; anything but a JSON object closes the channel."""
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
        raise self._garbled_error(line)

    def _garbled_error(self, said: bytes) -> ChannelClosed:
        """Return the error for an invalid answer."""
        self._garbled = True
        self._ended_because = f"sent something that is no answer: {_printable(said.decode('utf-8', 'replace'))[:80]!r}"
        return self._closed_error()

    def _closed_error(self) -> ChannelClosed:
        """End the process and return the error that describes how it ended."""
        returncode = self._end()
        if not self._ended_because:
            self._ended_because = "was stopped" if self._closed.is_set() else describe_exit(returncode)
        kind = ChannelGarbled if self._garbled else ChannelClosed
        return kind(self._ended_because, self._log_tail(), self._kept_log, self._hint)

    def _end(self) -> int:
        """Return the exit code of the process; kill it if it closed its output but still runs."""
        if not self._ended_because and not self._closed.is_set():
            try:
                self._process.wait(EXIT_GRACE_S)
            except subprocess.TimeoutExpired:
                self._ended_because = "closed its output and was ended"
        self._kill()
        return self._process.returncode if self._process.returncode is not None else -signal.SIGKILL

    def _kill(self) -> None:
        """Kill the process group, once: afterwards its ID may be reused."""
        with self._killing:
            if self._killed:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # a process that hangs in a driver cannot be killed
                self._process.wait(EXIT_GRACE_S)
            # A descendant may have left the group; the mark in its environment identifies it.
            for pid in marked(f"{MARK}={self._mark}"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._killed = True

    def _watch_memory(self, limit_bytes: int) -> None:
        """Kill the process above the memory limit; runs in a thread until the process ends."""
        while self._process.returncode is None and not self._closed.wait(WATCH_INTERVAL_S):
            if tree_rss_bytes(self._process.pid) > limit_bytes:
                self._ended_because = f"used more memory than the limit of {_in_words(limit_bytes)}"
                self._hint = "allow more with --memory-limit, or close other programs"
                self._kill()

    @property
    def _kept_log(self) -> str:
        """Path of the log for the user; empty if the log is not kept."""
        return "" if str(self.log_path) == os.devnull else str(self.log_path)

    def _log_tail(self) -> str:
        """Return the last lines of the log, without control characters."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(_printable(text).strip().splitlines()[-LOG_TAIL_LINES:])


def _in_words(limit_bytes: int) -> str:
    """Return an amount of memory as text."""
    return f"{limit_bytes / 1e9:.1f} GB" if limit_bytes >= 1e9 else f"{limit_bytes / 1e6:.0f} MB"  # noqa: PLR2004 - a giga


def _deadline(timeout_s: float | None) -> float | None:
    """Return the end of a wait that begins now."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def describe_exit(returncode: int) -> str:
    """Return how a process ended, in words: `was killed by SIGSEGV (Segmentation fault)`."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        return f"was killed by signal {-returncode}"
    if returncode == -signal.SIGKILL:
        return "was killed by SIGKILL, by the system if memory ran out, else by somebody else"
    return f"was killed by {name} ({signal.strsignal(-returncode)})"


def open_log(log: Path) -> int:
    """Return a file descriptor that appends to a log.

    Raises:
        BadInputError: The log cannot be written.
    """
    try:
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        message = f"the log {log} cannot be written: {error.strerror}"
        raise full_disk(error) or BadInputError(message, hint="choose another folder with --out") from error


def _printable(text: str) -> str:
    """Return text without escape sequences and control characters: third-party programs print it."""
    return _CONTROL.sub("", text)
