"""Starts processes from a parent with TensorFlow imported: in 10 ms instead of seconds."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.devices.base import thread_environment
from edgeopt.devices.channel import Channel, open_log
from edgeopt.devices.forked import BACKEND, LEGACY, TENSORFLOW, ForkedProcess, fork, has_same_keras, hear
from edgeopt.errors import DeviceError
from edgeopt.measure import forking
from edgeopt.requirements import names

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Mapping, Sequence

SLOW = ("tensorflow",)
"""Names of distributions, also of modules, whose import takes seconds."""
READY_S = 120.0
"""Maximum time for the import."""


def is_slow(requires: Iterable[str]) -> bool:
    """Return whether the packages that a runner requires take seconds to import."""
    return not {name.lower() for name in names(requires)}.isdisjoint(SLOW)


class WarmParent:
    """A Python process that has imported TensorFlow, and from which other processes are forked.

    It starts at once and imports while the host does other things. If it is unusable (on a system other than Linux, or
    because a library starts threads on import), `fork` returns None, and processes are started as usual.

    Args:
        command: The command that starts Python.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._asking = threading.Lock()
        self._is_usable: bool | None = None
        """None until its first message, which comes after the import."""
        self._channel: Channel | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # With more than one thread, the libraries that it loads would start some on import.
        variables = {**os.environ, **thread_environment(1), BACKEND: TENSORFLOW}
        variables.pop(LEGACY, None)
        argv = [*command, str(Path(forking.__file__).absolute()), str(theirs.fileno()), *SLOW]
        with theirs, contextlib.suppress(DeviceError):
            if sys.platform == "linux":  # other systems' libraries do not work in a forked process
                self._channel = Channel(argv, log=Path(os.devnull), env=variables, pass_fds=[theirs.fileno()])

    def fork(self, run: Sequence[str], log: Path, environment: Mapping[str, str]) -> ForkedProcess | None:
        """Return a new process that runs a Python file, or a module with `-m`; None if this parent is unusable.

        Raises:
            BadInputError: The log cannot be written.
        """
        with self._asking:
            if not self._is_ready() or not has_same_keras(environment):
                return None
            errors = open_log(log)
            self._is_usable = False  # after an interrupt, the next fork would read this answer
            message = {"run": list(run), "env": dict(environment), "cwd": _current_folder()}
            try:
                process = fork(self._socket, message, errors=errors)
            finally:
                os.close(errors)
            self._is_usable = process is not None
            return process

    def close(self) -> None:
        """End the parent and all processes forked from it."""
        if self._channel is not None:
            self._channel.close()  # also ends the wait of another thread in `fork`
        with self._asking:
            self._is_usable = False
            self._socket.close()

    def _is_ready(self) -> bool:
        if self._is_usable is None:
            self._is_usable = self._channel is not None and hear(self._socket, READY_S).get("threads") == 1
        return self._is_usable


class WarmChannel(Channel):
    """A channel to a process that was forked from a parent, or started as usual if that is impossible.

    Args:
        parent: The parent, if any.
        command: The command that starts Python.
        run: A Python file, or `-m` and a module.
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
        self, argv: Sequence[str], log: Path, env: Mapping[str, str], **settings: Any
    ) -> subprocess.Popen[bytes] | ForkedProcess:
        forked = self._parent and self._parent.fork(self._run, log, env)
        return forked or super()._start(argv, log, env, **settings)


def _current_folder() -> str:
    """Return the current folder; empty if it was removed."""
    with contextlib.suppress(OSError):
        return str(Path.cwd())
    return ""
