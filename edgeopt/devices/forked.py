"""Forks a process from a parent that `measure/forking.py` runs.

One file, standard library only: the host and the guard on a device use it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import weakref

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ANSWER_BYTES = 1 << 16
FORK_S = 120.0
"""Maximum time for a fork, including the import that it may wait for."""
PEER = struct.Struct("3i")
"""The process, user and group at the other end of a socket (Linux, `unix(7)`)."""
BACKEND, LEGACY = "KERAS_BACKEND", "TF_USE_LEGACY_KERAS"
"""The variables that TensorFlow and Keras read during their import."""
TENSORFLOW = "tensorflow"


class ForkedProcess:
    """A process forked from a parent, with the parts of `Popen` that a channel or a guard uses."""

    def __init__(self, pid: int, stdin: int, stdout: int | None, exit_code: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb")
        self.stdout = None if stdout is None else os.fdopen(stdout, "rb")
        self.returncode: int | None = None
        """Negative for a signal."""
        # Not closed after reading: another thread may be waiting for it.
        self._exit_code = exit_code
        weakref.finalize(self, os.close, exit_code)
        self._reading = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code if the process has ended, else None."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            subprocess.TimeoutExpired: The process still runs.
        """
        if self.returncode is None and not is_readable(self._exit_code, timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        with self._reading:
            if self.returncode is None:
                said = os.read(self._exit_code, 64)
                self.returncode = int(said) if said else -signal.SIGKILL  # its parent ended before it could report
            return self.returncode


def connect(name: str) -> socket.socket:
    """Return a new socket to the parent that listens under a name.

    Raises:
        OSError: Nobody listens there, or another user does: anybody may take a free name.
    """
    parent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        parent.connect(f"\0{name}")  # abstract: the path of a folder may be too long for a socket
        if peer_user(parent) != os.getuid():
            raise PermissionError(errno.EPERM, f"another user listens as {name}")
    except OSError:
        parent.close()
        raise
    return parent


def peer_user(connection: socket.socket) -> int:
    """Return the user ID of the process at the other end of a Unix socket."""
    _, user, _ = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return int(user)


def has_same_keras(environment: Mapping[str, str]) -> bool:
    """Return whether these variables select the Keras that a parent has imported."""
    return LEGACY not in environment and environment.get(BACKEND, TENSORFLOW) == TENSORFLOW


def fork(
    parent: socket.socket, message: Mapping[str, Any], *, errors: int, stdout: int | None = None
) -> ForkedProcess | None:
    """Return a new process; None if the parent has ended or cannot fork.

    Args:
        parent: Socket to the parent.
        message: Description of the process; see `measure/forking.py`.
        errors: Its standard error.
        stdout: Its standard output; if None, a pipe, `ForkedProcess.stdout`.
    """
    stdin, to_stdin = os.pipe()
    exit_code, exit_pipe = os.pipe()
    theirs, ours = [stdin, exit_pipe], [to_stdin, exit_code]
    from_stdout = None
    if stdout is None:
        from_stdout, stdout = os.pipe()
        theirs.append(stdout)
        ours.append(from_stdout)
    answer: dict[str, Any] = {}
    with contextlib.suppress(OSError):  # it has ended, or the variables exceed the message size
        socket.send_fds(parent, [json.dumps(message).encode()], [stdin, stdout, errors, exit_pipe])
        answer = hear(parent, FORK_S)
    for descriptor in theirs:
        os.close(descriptor)
    if "pid" in answer:
        return ForkedProcess(answer["pid"], to_stdin, from_stdout, exit_code)
    for descriptor in ours:
        os.close(descriptor)
    return None


def hear(parent: socket.socket, limit_s: float) -> dict[str, Any]:
    """Return the next message of a parent; empty if none comes in time or it has ended."""
    with contextlib.suppress(OSError, ValueError):
        if is_readable(parent.fileno(), limit_s):
            answer: dict[str, Any] = json.loads(parent.recv(ANSWER_BYTES))
            return answer
    return {}


def is_readable(descriptor: int, limit_s: float | None) -> bool:
    """Return whether data comes in time; `select` rejects descriptors above 1,023."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if limit_s is None else limit_s * 1000))
