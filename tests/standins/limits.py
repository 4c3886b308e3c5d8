"""A device that is small: little memory, or little room for files."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.standins import needs

CGROUPS = Path("/sys/fs/cgroup")


@dataclass
class Limits:
    """How small a device is; root only. `with` makes what the kernel needs for it.

    Args:
        memory_bytes: for all its processes together. The kernel kills one that asks for more.
        disk_bytes: for its home folder, which is then empty after each start.
    """

    memory_bytes: int | None = None
    disk_bytes: int | None = None
    group: Path | None = None

    @property
    def prefix(self):
        """What is put before the command that starts the device."""
        if self.group is None:
            return []
        return ["sh", "-c", f'echo $$ > {self.group}/cgroup.procs && exec "$@"', "sh"]

    def memory_kills(self):
        """How many processes the kernel has killed for their memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                return int(dict(line.split() for line in (self.group / name).read_text().splitlines())["oom_kill"])
        return 0

    def __enter__(self):
        if self.memory_bytes:
            name = f"edgeopt-{os.getpid()}-{time.monotonic_ns()}"
            try:
                self.group = (_version_2 if (CGROUPS / "cgroup.controllers").exists() else _version_1)(
                    name, self.memory_bytes
                )
            except OSError as error:
                needs.refuse(f"needs control groups with memory: {error}")
        return self

    def __exit__(self, *_):
        while self.group and self.group.exists():  # busy until the kernel has buried all that was in it
            with contextlib.suppress(OSError):
                self.group.rmdir()
            time.sleep(0.01)


def _version_1(name, memory_bytes):
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = dict(line.split(":", 2)[1:] for line in lines)
    group = CGROUPS / "memory" / own["memory"].lstrip("/") / name
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(memory_bytes))
    with contextlib.suppress(OSError):  # where the kernel counts swap
        (group / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
    return group


def _version_2(name, memory_bytes):
    # A group that holds processes cannot have limited groups below it, so ours is made at the top.
    (CGROUPS / "cgroup.subtree_control").write_text("+memory")
    group = CGROUPS / name
    group.mkdir()
    (group / "memory.max").write_text(str(memory_bytes))
    with contextlib.suppress(OSError):
        (group / "memory.swap.max").write_text("0")
    return group


NO_LIMITS = Limits()
