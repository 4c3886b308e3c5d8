"""What a machine is, and how it is at this moment: nothing but the standard library."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RUNTIMES = ("tensorflow", "keras", "ai-edge-litert", "numpy")
"""Distributions whose versions explain a number."""
BUSY_SHARE = 0.15
"""Share of the machine that other processes may take before a comparison is doubted."""
QUIET_GOVERNORS = ("performance", "schedutil", "")
HOT_C = 85.0
WIDE_SPREAD = 0.10
"""Relative spread of an artifact's rounds above which the machine was too noisy."""
LOOK_S = 0.25
_CPU = Path("/sys/devices/system/cpu")
_THERMAL = Path("/sys/class/thermal")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device is; field for field what the run says of it."""

    uri: str
    machine: str
    os: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    runtimes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """How a device is at one moment; None where it does not tell."""

    load_average: float | None
    """Processes that wanted to run in the last minute."""
    busy_share: float | None
    """Share of all cores that is in use right now."""
    governor: str | None
    temperature_c: float | None
    cores_allowed: int


def find_facts(uri: str) -> Facts:
    """Return what this machine is."""
    return Facts(
        uri=uri,
        machine=platform.machine(),
        os=_system(),
        cpu=_cpu_model(),
        cores=cores_allowed(),
        memory_bytes=memory_bytes(),
        python=platform.python_version(),
        runtimes=find_runtimes(RUNTIMES),
    )


def find_health() -> Health:
    """Return how this machine is; takes a quarter of a second, in which nothing should be measured."""
    return Health(
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        busy_share=_busy_share(),
        governor=_read(_CPU / "cpu0" / "cpufreq" / "scaling_governor"),
        temperature_c=_temperature_c(),
        cores_allowed=cores_allowed(),
    )


def summarise_health(before: Health, after: Health, spreads: Mapping[str, float]) -> dict[str, Any]:
    """Return the health of a whole measurement as the run keeps it, with the doubts that it leaves.

    Args:
        before: The machine just before it.
        after: The machine just after it.
        spreads: By artifact, how far its rounds lay apart; see `stats.round_spread`.
    """
    return {
        "governor": before.governor,
        "cores_allowed": before.cores_allowed,
        "load_average": [before.load_average, after.load_average],
        "busy_share": [before.busy_share, after.busy_share],
        "temperature_c": [before.temperature_c, after.temperature_c],
        "doubts": find_doubts(before, after, spreads),
    }


def find_doubts(before: Health, after: Health, spreads: Mapping[str, float]) -> list[str]:
    """Return why the numbers may not be what a quiet machine gives, each with what to do."""
    doubts = []
    busy = max((share for share in (before.busy_share, after.busy_share) if share is not None), default=0.0)
    if busy > BUSY_SHARE:
        doubts.append(f"other processes used {busy:.0%} of the machine; end them and measure again")
    noisy = sorted(name for name, spread in spreads.items() if spread > WIDE_SPREAD)
    if noisy:
        doubts.append(
            f"the rounds of {', '.join(noisy)} lay more than {WIDE_SPREAD:.0%} apart; measure again on a quiet machine"
            " or with more --seconds"
        )
    if before.governor and before.governor not in QUIET_GOVERNORS:
        doubts.append(
            f"the CPU governor is {before.governor}, so clocks change while measuring;"
            " set it with: sudo cpupower frequency-set --governor performance"
        )
    hottest = max((t for t in (before.temperature_c, after.temperature_c) if t is not None), default=0.0)
    if hottest > HOT_C:
        doubts.append(f"the processor reached {hottest:.0f} °C and may have slowed down; let it cool and measure again")
    return doubts


def find_runtimes(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed here."""
    versions = {}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def cores_allowed() -> int:
    """Return how many cores this process may use: its affinity, and the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


def _quota_cores() -> float | None:
    """Return the control group's limit in cores, None where there is none."""
    both = _read(_CGROUP / "cpu.max")
    if both is None:
        quota, period = (_read(_CGROUP / "cpu" / f"cpu.cfs_{part}_us") for part in ("quota", "period"))
    else:
        quota, _, period = both.partition(" ")
    try:
        cores = float(quota or "") / float(period or "")
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def _busy_share() -> float | None:
    """Return the share of all cores that is in use during a short look."""
    first = _jiffies()
    if first is None:
        return None
    time.sleep(LOOK_S)
    second = _jiffies() or first
    total, idle = (later - earlier for later, earlier in zip(second, first, strict=True))
    return 1 - idle / total if total > 0 else None


def _jiffies() -> tuple[int, int] | None:
    """Return all ticks of all cores since the start of the machine, and those that were idle."""
    line = (_read(Path("/proc/stat")) or "").partition("\n")[0].split()
    if len(line) < 9:  # noqa: PLR2004 - user nice system idle iowait irq softirq steal
        return None
    ticks = [int(count) for count in line[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def _temperature_c() -> float | None:
    """Return the hottest of the machine's sensors."""
    readings = []
    with contextlib.suppress(OSError):
        for zone in _THERMAL.glob("thermal_zone*/temp"):
            with contextlib.suppress(ValueError, TypeError):
                readings.append(int(_read(zone) or "") / 1000)
    return max(readings, default=None)


def _system() -> str:
    """Return the name of the operating system as its users know it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}"
    return f"{platform.system()} {platform.release()}"


def _cpu_model() -> str:
    """Return the processor's name."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return _command(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Return the memory that this machine has, or what its control group may use; 0 where neither is told."""
    limits = []
    with contextlib.suppress(ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(ValueError):  # the word "max" stands for no limit
        limits.append(int(_read(Path("/sys/fs/cgroup/memory.max")) or ""))
    return min(limits, default=0)


def available_bytes() -> int:
    """Return the memory that a new process may take; all that there is where the system does not tell."""
    limit = memory_bytes()
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemAvailable:"):
            return min(int(line.split()[1]) * 1024, limit or sys.maxsize)
    return limit


def _command(argv: Sequence[str]) -> str:
    """Return what a program says, nothing when it does not exist."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path: Path) -> str | None:
    """Return a small file of the system, None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
