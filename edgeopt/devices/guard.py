"""The parent of every process that edgeopt starts on a device: one file, the same bytes everywhere.

It needs Python 3.9 and the files `proctree.py` and `forked.py` beside it. Its argument is one JSON object:

    argv                the command to start
    parent              the name under which a parent listens that has done the imports and forks the process
                        (`measure/forking.py`); empty for none
    environment         variables to add
    mark                `NAME=value`, in the environment of everything that the process starts
    silence_s           end it if the host is silent for longer: host or connection is lost
    memory_limit_bytes  end it if it and its children hold more; capped at, and if null, 0.9 of free memory; 0: never
    cores               the cores that it may use; null for all

Standard input goes to the process line by line. `!SECONDS` before a line limits the time for its answer; after that the
process is ended. Alone, it is a heartbeat from a host that still waits for the answer; an empty line is a heartbeat
from a host that waits for nothing. Heartbeats are not forwarded. Only the process writes to standard output and error
until it has ended; then the last line on standard output is `{"ended": CODE, "because": TEXT}`, with the reason if the
guard ended it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from edgeopt.devices.forked import ForkedProcess, connect, fork, has_same_keras
    from edgeopt.devices.proctree import marked, tree_rss_bytes
else:
    from forked import connect, fork, has_same_keras
    from proctree import marked, tree_rss_bytes

WATCH_S = 0.2
READ_BYTES = 1 << 16
LIMIT = b"!"
"""Messages of the host never begin like this."""
FREE_SHARE = 0.9
"""Share of the free memory that a process may use: above it, the system begins to kill others."""
AGAIN_S = 0.1
"""Delay before a second search for marked processes: a starting program briefly lacks the mark."""
WAIT_S = 5.0
"""Time for a process to end by itself after its input has ended."""


class Guard:
    """Starts one process, and ends it and everything that it started when it must not continue."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self._because = ""
        self._heard = time.monotonic()
        self._limit_s = math.inf
        """Time limit of the pending answer, from the last input; infinite if no answer is pending."""
        name, _, value = wanted["mark"].partition("=")
        variables = {**os.environ, **wanted["environment"], name: value}
        self._process = self._fork(variables) or self._start(variables)

    def run(self) -> int:
        """Return the exit code of the process; negative for a signal."""
        threading.Thread(target=self._watch, daemon=True).start()
        threading.Thread(target=self._forward, daemon=True).start()
        code = self._process.wait()
        self._end_all()
        return code

    @property
    def because(self) -> str:
        """Reason why the guard ended the process; empty if it did not."""
        return self._because

    def _fork(self, variables: dict[str, str]) -> ForkedProcess | None:
        """Return a process forked from the wanted parent, on the same cores; None if impossible."""
        if not self._wanted["parent"] or not has_same_keras(variables):
            return None
        message = {"run": self._wanted["argv"][1:], "env": variables, "cwd": os.getcwd()}  # noqa: PTH109
        with contextlib.suppress(OSError), connect(self._wanted["parent"]) as parent:
            return fork(parent, message, stdout=1, errors=2)
        return None

    def _start(self, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start the process."""
        return subprocess.Popen(
            self._wanted["argv"],
            stdin=subprocess.PIPE,
            env=variables,
            start_new_session=True,
            preexec_fn=self._keep_to_cores if self._wanted["cores"] else None,  # noqa: PLW1509 - no thread runs yet
        )

    def _keep_to_cores(self) -> None:
        os.sched_setaffinity(0, self._wanted["cores"])

    def _forward(self) -> None:
        """Forward the host's input to the process; end the process when the input ends."""
        stdin, rest = self._process.stdin, b""
        with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            while selector.select():
                chunk = os.read(0, READ_BYTES)
                if not chunk:
                    break
                self._heard = time.monotonic()
                *lines, rest = (rest + chunk).split(b"\n")
                said = b"".join(self._hear(line) for line in lines)
                if said and stdin is not None:
                    stdin.write(said)
                    stdin.flush()
        with contextlib.suppress(OSError):
            if stdin is not None:
                stdin.close()
        if self._limit_s == math.inf:  # no answer is pending: it may exit by itself
            time.sleep(WAIT_S)
        self._stop("the host is gone")

    def _hear(self, line: bytes) -> bytes:
        """Return the part of a line that is for the process."""
        if not line:
            self._limit_s = math.inf
        elif line.startswith(LIMIT):
            limit, _, line = line[1:].partition(b" ")
            self._limit_s = float(limit)
        return line and line + b"\n"

    def _watch(self) -> None:
        """End the process if the host is silent, the answer late, or the memory limit exceeded."""
        silence_s = self._wanted["silence_s"]
        wanted_bytes = self._wanted["memory_limit_bytes"]
        limit_bytes = min(wanted_bytes or sys.maxsize, int(FREE_SHARE * free_bytes()))
        while self._process.poll() is None:
            time.sleep(WATCH_S)
            silent_s = time.monotonic() - self._heard
            if silent_s > self._limit_s:
                self._stop("took too long to answer")
            elif silent_s > silence_s:
                self._stop("the host is gone")
            elif wanted_bytes != 0 and tree_rss_bytes(self._process.pid) > limit_bytes:
                self._stop(f"used more memory than the limit of {limit_bytes / 1e6:.0f} MB")

    def _stop(self, because: str) -> None:
        if self._process.poll() is None:
            self._because = self._because or because
            self._end_all()

    def _end_all(self) -> None:
        """Kill the group of the process, and marked processes that have left it."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pause_s in (AGAIN_S, 0.0):
            for pid in marked(self._wanted["mark"]):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(pause_s)


def free_bytes() -> int:
    """Return the free memory of this machine; `sys.maxsize` if unknown."""
    # `observer.available_bytes` covers more, but would be loaded beside the process that is about to be measured.
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return sys.maxsize


def main() -> None:
    """Guard one process and report how it ended."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost connection must not end the guard before the process
    wanted = json.loads(sys.argv[1])
    because = missing_cores(wanted["cores"] or ())
    if because:
        tell(1, because)
        return
    guard = Guard(wanted)
    tell(guard.run(), guard.because)


def missing_cores(wanted: Iterable[int]) -> str:
    """Return a message if some cores are not available, else an empty text."""
    if not wanted:
        return ""
    there = os.sched_getaffinity(0)
    missing = ", ".join(str(core) for core in wanted if core not in there)
    return f"cannot use the cores {missing}: there are {', '.join(map(str, sorted(there)))}" if missing else ""


def tell(code: int, because: str) -> None:
    """Report how the process ended, to a host that may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"ended": code, "because": because}).encode() + b"\n")


if __name__ == "__main__":
    main()
