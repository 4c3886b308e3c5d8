"""Processes that end together, however they have daemonised, and that can be told from all others.

As root they live in namespaces of their own. Without root they carry a mark in their environment.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

PROC = Path("/proc")
END_LIMIT_S = 30


class Namespace:
    """A shell script as the first process of its own process, mount and host name namespaces. Root only.

    When the first process ends, the kernel ends all others of its namespace: nothing can be left.
    """

    def __init__(self, script, log, *, prefix=(), options=()):
        unshare = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", *options]
        self._outer = _start([*prefix, *unshare, "sh", "-euc", f"mount --make-rprivate /\n{script}"], log)
        self.first = self._wait_for_child()
        self._name = _namespace(self.first)

    def _wait_for_child(self):
        children = PROC / str(self._outer.pid) / "task" / str(self._outer.pid) / "children"
        for _ in range(500):
            with contextlib.suppress(OSError, IndexError):
                return int(children.read_text().split()[0])
            time.sleep(0.01)
        raise RuntimeError("unshare has started nothing")

    @property
    def outer(self):
        """The process outside, in whose network namespace the others are."""
        return self._outer.pid

    @property
    def running(self):
        return self._outer.poll() is None

    def members(self):
        """Process numbers, as this machine counts them."""
        return [pid for pid in _pids() if is_alive(pid) and _namespace(pid) == self._name]

    def end(self):
        # Not by --kill-child, whose signal a change of user clears. The first has ended only when all others have.
        kill([self.first])
        self._outer.wait(END_LIMIT_S)


class Marked:
    """A command of an ordinary user, and what descends from it or carries its mark."""

    def __init__(self, command, log, mark):
        self._mark = f"EDGEOPT_STANDIN={mark}".encode()
        self._outer = _start(command, log)
        self.first = self._outer.pid

    @staticmethod
    def new_mark():
        return secrets.token_hex(8)

    @property
    def running(self):
        return self._outer.poll() is None

    def members(self):
        parents = {pid: _parent(pid) for pid in _pids() if is_alive(pid)}
        found = [self.first]
        for pid in found:  # grows while it is walked
            found += [child for child, parent in parents.items() if parent == pid]
        return sorted({*found, *(pid for pid in parents if self._is_marked(pid))})

    def _is_marked(self, pid):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            return self._mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        return False

    def end(self):
        while alive := [pid for pid in self.members() if is_alive(pid)]:  # one may have started another meanwhile
            kill(alive)
            self._outer.poll()
            time.sleep(0.01)
        self._outer.wait()


def kill(pids, number=signal.SIGKILL):
    """Send a signal to processes that may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def command(pid):
    """What a process was started as; empty when it has ended."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def program(pid):
    """The name of the program that a process executes; empty when it has ended."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "comm").read_text().strip()
    return ""


def _start(arguments, log):
    with log.open("ab") as out:
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)


def _pids():
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _namespace(pid):
    with contextlib.suppress(OSError):
        return str((PROC / str(pid) / "ns" / "pid").readlink())
    return ""


def _fields(pid):
    """State and parent, which follow the name of the program in its parentheses."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return ["Z", "0"]


def is_alive(pid):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    return _fields(pid)[0] not in ("Z", "X")


def _parent(pid):
    return int(_fields(pid)[1])
