"""Detects the processor features that a trial of 8-bit weights on this machine depends on."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def flags() -> frozenset[str]:
    """Return the processor's features as named in /proc/cpuinfo, or an empty set if it is unreadable."""
    try:
        return frozenset(CPUINFO.read_text("utf-8", "replace").split())
    except OSError:
        return frozenset()


def overflows() -> bool:
    """Return whether this is an x86 processor without VNNI; true if its features are unknown."""
    return platform.machine().lower() in {"x86_64", "amd64"} and VNNI.isdisjoint(flags())
