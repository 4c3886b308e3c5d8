"""The parent of every process that edgeopt starts on a device: one file that runs there, the same bytes everywhere.

It needs Python 3.9 and the files `proctree.py` and `forked.py` beside it. Its argument is one JSON object:

    argv                what to start
    parent              the name under which a process listens that has imported what it needs, and from which it is
                        forked (`measure/forking.py`); empty for none
    environment         variables to add
    mark                `NAME=value`, in the environment of everything that the process starts
    silence_s           end it when the host has said nothing for so long: the host is gone, or the link is
    memory_limit_bytes  end it when it and its children hold more; null for what is free, but for a tenth; 0: never
    cores               the cores that it may use; null for all

Standard input goes to the process line by line. `!SECONDS` before a line says how long its answer may take: after that
the process is ended. Such a mark alone is a sign of life from the host, which still waits for the answer; an empty line
is one too, and says that nothing is asked. Both go nowhere. The process has standard output and error to itself. When
it has ended, the last line on standard output says how: `{"ended": CODE, "because": TEXT}`, with the text of what the
guard ended it for.
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
"""No message of the host begins like this."""
FREE_SHARE = 0.9
"""How much of the free memory a process may take: with more, the system begins to end others."""
AGAIN_S = 0.1
"""When to look again for what is to be ended: a program that is just being started bears no mark for a moment."""
WAIT_S = 5.0
"""How long a process may take to end by itself when its input has ended."""


class Guard:
    """Starts one process and ends it, with everything that it started, when it must not go on."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self._because = ""
        self._heard = time.monotonic()
        self._limit_s = math.inf
        """How long, from what was heard last, the answer may take that the host waits for; without end when it waits
        for none."""
        name, _, value = wanted["mark"].partition("=")
        variables = {**os.environ, **wanted["environment"], name: value}
        self._process = self._fork(variables) or self._start(variables)

    def run(self) -> int:
        """Return the code that the process ended with; negative for a signal."""
        threading.Thread(target=self._watch, daemon=True).start()
        threading.Thread(target=self._forward, daemon=True).start()
        code = self._process.wait()
        self._end_all()
        return code

    @property
    def because(self) -> str:
        """Why the guard ended the process; empty when it did not."""
        return self._because

    def _fork(self, variables: dict[str, str]) -> ForkedProcess | None:
        """Return a process forked from the wanted parent, which keeps to the same cores; None if there is none."""
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
        """Hand what the host says to the process; an end of it is the end of the process too."""
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
        if self._limit_s == math.inf:  # nobody waits for what it does, so it does nothing
            time.sleep(WAIT_S)
        self._stop("the host is gone")

    def _hear(self, line: bytes) -> bytes:
        """Return what of a line is for the process."""
        if not line:
            self._limit_s = math.inf
        elif line.startswith(LIMIT):
            limit, _, line = line[1:].partition(b" ")
            self._limit_s = float(limit)
        return line and line + b"\n"

    def _watch(self) -> None:
        """End the process when the host is silent, when it takes too long, or when it holds too much memory."""
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
        """Kill the group of the process, and what has left the group but bears the mark."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pause_s in (AGAIN_S, 0.0):
            for pid in marked(self._wanted["mark"]):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(pause_s)


def free_bytes() -> int:
    """Return the memory that is free on this machine; more than any has where the system does not tell."""
    # `observer.available_bytes` knows more, but would have to be loaded beside what is about to be measured.
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return sys.maxsize


def main() -> None:
    """Guard one process and say how it ended."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost link must not end the guard before the process
    wanted = json.loads(sys.argv[1])
    because = missing_cores(wanted["cores"] or ())
    if because:
        tell(1, because)
        return
    guard = Guard(wanted)
    tell(guard.run(), guard.because)


def missing_cores(wanted: Iterable[int]) -> str:
    """Return that some cores are not to be had here, or nothing."""
    if not wanted:
        return ""
    there = os.sched_getaffinity(0)
    missing = ", ".join(str(core) for core in wanted if core not in there)
    return f"cannot use the cores {missing}: there are {', '.join(map(str, sorted(there)))}" if missing else ""


def tell(code: int, because: str) -> None:
    """Say how the process ended, to a host that may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"ended": code, "because": because}).encode() + b"\n")


if __name__ == "__main__":
    main()
