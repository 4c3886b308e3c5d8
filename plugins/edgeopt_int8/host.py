"""What this machine's processor has, which decides what a trial here can show."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def flags() -> frozenset[str]:
    """Return the features of the processor by the names in /proc/cpuinfo; empty if it is not readable."""
    try:
        return frozenset(CPUINFO.read_text("utf-8", "replace").split())
    except OSError:
        return frozenset()


def overflows() -> bool:
    """Whether this processor is an x86 one without VNNI, as far as is known."""
    return platform.machine().lower() in {"x86_64", "amd64"} and VNNI.isdisjoint(flags())
