"""Memory of a process and everything that it started."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
PS_TIMEOUT_S = 5.0


def tree_rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; 0 if it has ended."""
    if (PROC / "self" / "statm").exists():
        return _rss_from_proc(pid)
    return _rss_from_ps(pid)


def marked(variable: str) -> list[int]:
    """Return the IDs of this user's processes that were started with `NAME=value` in the environment.

    On Linux only; empty elsewhere.
    """
    wanted = variable.encode()
    found = []
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or belongs to another user
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _rss_from_proc(pid: int) -> int:
    """Read Linux's process files, only those of the tree: a full scan would disturb the measurement."""
    process = PROC / str(pid)
    total = 0
    # A process or thread may end between two reads; it then counts as 0.
    with contextlib.suppress(OSError, ValueError, IndexError):
        total = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError):
        for thread in (process / "task").iterdir():
            with contextlib.suppress(OSError, ValueError):
                total += sum(_rss_from_proc(int(child)) for child in (thread / "children").read_text().split())
    return total


def _rss_from_ps(pid: int) -> int:
    """Add up the output of `ps`, which every Unix has."""
    try:
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, timeout=PS_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    children: dict[int, list[int]] = defaultdict(list)
    kilobytes: dict[int, int] = {}
    for line in listing.splitlines():
        own, parent, rss = (int(field) for field in line.split())
        children[parent].append(own)
        kilobytes[own] = rss
    total, queue = 0, [pid]
    while queue:
        own = queue.pop()
        total += kilobytes.get(own, 0) * 1024
        queue += children[own]
    return total
