"""The 8-bit dot products of processors: those of a device, and those that an artifact needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BY_FLAG = {
    "avx512_vnni": "vnni",
    "avx_vnni": "vnni",
    "amx_int8": "vnni",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}
"""Features that an artifact may need, by their names in /proc/cpuinfo; see `observer.INT8_FEATURES`."""
SPELT = {"vnni": "VNNI", "dotprod": "dotprod", "i8mm": "i8mm"}
"""Names of the features for users."""
KNOWN = frozenset(SPELT)
SETTING = re.compile(r"[A-Za-z_]\w*=[\w.+-]+")
"""Format of `Artifact.fallback`, which users copy into a shell."""
_X86 = frozenset({"x86_64", "amd64", "i386", "i486", "i586", "i686"})


def features(details: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the features of `KNOWN` that a device has, None if it does not report them.

    Args:
        details: As in `Facts.details`.
    """
    reported = str(details.get("int8_features", ""))
    return frozenset(BY_FLAG[flag] for flag in reported.split() if flag in BY_FLAG) if reported else None


def missing(needs: Iterable[str], machine: str, details: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the needs that a device is known not to meet.

    A need of another architecture counts as met. An unknown one does not: a newer edgeopt wrote it.

    Args:
        needs: As in `Artifact.needs`.
        machine: As in `Facts.machine`.
        details: As in `Facts.details`.
    """
    found = features(details)
    concerned = {"vnni"} if is_x86(machine) else KNOWN - {"vnni"}
    return tuple(
        need for need in needs if need not in KNOWN or (need in concerned and found is not None and need not in found)
    )


def lacks_dot_product(details: Mapping[str, Any]) -> bool:
    """Return whether a device is known to lack any 8-bit dot product."""
    return features(details) == frozenset()


def is_x86(machine: str) -> bool:
    """Return whether a machine has an x86 processor."""
    return machine.lower() in _X86
