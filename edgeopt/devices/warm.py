"""Starts processes from a parent that has imported TensorFlow already: in 10 ms instead of in seconds."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.devices.channel import MARK, Channel, open_log
from edgeopt.devices.proctree import marked
from edgeopt.errors import EdgeoptError
from edgeopt.measure import forking
from edgeopt.requirements import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SLOW = ("tensorflow",)
"""Distributions, and modules, whose import takes seconds."""
SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For the parent: libraries that start threads on import do so by these."""
KERAS = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "1"}
"""What TensorFlow and Keras read while they are imported."""
MESSAGE_BYTES = 1 << 16
READY_S, ANSWER_S = 120.0, 30.0
"""How long the import may take, and a fork."""


def is_slow(requires: Iterable[str]) -> bool:
    """Whether what a runner requires takes seconds to import."""
    return not {name.lower() for name in names(requires)}.isdisjoint(SLOW)


class WarmParent:
    """A Python process that has imported what is slow to import, and is forked for each new process.

    It starts at once and imports while the host does other things. Where it cannot be used (on another system than
    Linux, or when a library starts threads on import), `fork` gives nothing, and a process is started as usual.

    Args:
        command: What starts Python.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._asking = threading.Lock()
        self._is_usable: bool | None = None
        self._mark = f"warm-{os.getpid()}-{time.monotonic_ns()}"
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        variables = {**os.environ, **SINGLE, **KERAS, MARK: self._mark}
        variables.pop("TF_USE_LEGACY_KERAS", None)
        argv = [*command, str(Path(forking.__file__).absolute()), str(theirs.fileno()), *SLOW]
        with theirs:
            self._process = _start(argv, variables, theirs.fileno())

    def fork(self, run: Sequence[str], log: Path, environment: Mapping[str, str]) -> ForkedProcess | None:
        """Return a new process that runs a Python file, or with `-m` a module; None where this parent has none.

        Raises:
            BadInputError: The log cannot be written.
        """
        with self._asking:
            if self._is_usable is None:
                said = self._hear(READY_S) if self._process else None
                self._is_usable = bool(said and said["threads"] == 1)
            if not self._is_usable:
                return None
            self._is_usable = False  # an interrupt would leave an answer that belongs to nobody
            try:
                process = ForkedProcess.ask(self._socket, run, log, environment, lambda: self._hear(ANSWER_S))
            except EdgeoptError:  # of the log; nothing was asked
                self._is_usable = True
                raise
            self._is_usable = process is not None
            return process

    def close(self) -> None:
        """End it, and what is left of the processes that were forked from it."""
        if self._process is not None:
            self._process.kill()  # also ends the wait of another thread in `fork`
            self._process.wait()
        with self._asking:
            self._is_usable = False
            self._socket.close()
        for pid in marked(f"{MARK}={self._mark}"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _hear(self, limit_s: float) -> dict[str, Any] | None:
        """Return what the parent says next; None if it says nothing in time or has ended."""
        with contextlib.suppress(OSError, ValueError):
            if _is_readable(self._socket.fileno(), limit_s):
                answer = json.loads(self._socket.recv(MESSAGE_BYTES))
                return answer if isinstance(answer, dict) else None
        return None


class ForkedProcess:
    """A process that was forked from a `WarmParent`, with those parts of `Popen` that a channel uses."""

    def __init__(self, pid: int, stdin: int, stdout: int, ending: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb")
        self.stdout = os.fdopen(stdout, "rb")
        self.returncode: int | None = None
        """Negative for a signal."""
        self._ending = ending
        self._waiting = threading.Lock()

    @classmethod
    def ask(
        cls,
        parent: socket.socket,
        run: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        hear: Callable[[], dict[str, Any] | None],
    ) -> ForkedProcess | None:
        """Let a parent fork a process, and return it; None if the parent has ended.

        Args:
            parent: The socket to the parent.
            run: A Python file, or `-m` and a module.
            log: Where its standard error goes.
            environment: All its variables.
            hear: Gives the parent's answer; None if there is none.
        """
        message = json.dumps({"run": list(run), "env": dict(environment), "cwd": _current_folder()}).encode()
        theirs: list[int] = []
        ours: list[int] = []
        errors = open_log(log)
        try:
            for is_input in (True, False):
                reading, writing = os.pipe()
                theirs.append(reading if is_input else writing)
                ours.append(writing if is_input else reading)
            theirs.append(errors)
            reading, writing = os.pipe()
            theirs.append(writing)
            ours.append(reading)
            socket.send_fds(parent, [message], theirs)
            answer = hear()
        except OSError:  # it has ended, or the variables are more than fit into a message
            answer = None
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        if answer is None or "pid" not in answer:
            for descriptor in ours:
                os.close(descriptor)
            return None
        return cls(int(answer["pid"]), *ours)

    def poll(self) -> int | None:
        """Return the exit code if the process has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            subprocess.TimeoutExpired: It has not ended by then.
        """
        with self._waiting:
            if self.returncode is None:
                if not _is_readable(self._ending, timeout):
                    raise subprocess.TimeoutExpired("", timeout or 0)
                said = os.read(self._ending, 64)
                os.close(self._ending)
                self.returncode = int(said) if said else -signal.SIGKILL  # without its parent nobody knows
            return self.returncode


class WarmChannel(Channel):
    """A conversation with a process that was forked from a parent, or started as usual where that is not possible.

    Args:
        parent: The parent; None where there is none.
        command: What starts Python.
        run: What it runs: a Python file, or `-m` and a module.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        parent: WarmParent | None,
        command: Sequence[str],
        run: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        memory_limit_bytes: int | None = None,
    ) -> None:
        self._parent, self._run = parent, run
        super().__init__([*command, *run], log=log, env=env, memory_limit_bytes=memory_limit_bytes)

    def _start(
        self, argv: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path | None
    ) -> subprocess.Popen[bytes] | ForkedProcess:
        forked = self._parent and self._parent.fork(self._run, log, env)
        return forked or super()._start(argv, log, env, cwd)


def _is_readable(descriptor: int, limit_s: float | None) -> bool:
    """Wait until there is something to read; `select` knows no descriptor above 1,023."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if limit_s is None else limit_s * 1000))


def _current_folder() -> str:
    """Return the current folder; one that is nowhere if it was removed."""
    with contextlib.suppress(OSError):
        return str(Path.cwd())
    return ""


def _start(argv: Sequence[str], variables: Mapping[str, str], descriptor: int) -> subprocess.Popen[bytes] | None:
    """Start a parent; None where that is not possible."""
    if sys.platform != "linux":  # elsewhere system libraries do not work in a forked process
        return None
    with contextlib.suppress(OSError):
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(variables),
            pass_fds=[descriptor],
            start_new_session=True,
        )
    return None
