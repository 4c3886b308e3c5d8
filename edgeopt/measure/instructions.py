"""The 8-bit dot products of processors: which ones a device has, and which ones an artifact needs."""

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
"""The features that an artifact may need, by the names in /proc/cpuinfo; see `observer.INT8_FEATURES`."""
SPELT = {"vnni": "VNNI", "dotprod": "dotprod", "i8mm": "i8mm"}
"""How users know a feature."""
KNOWN = frozenset(SPELT)
SETTING = re.compile(r"[A-Za-z_]\w*=[\w.+-]+")
"""What `Artifact.fallback` may be: users copy it into a shell."""
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

    A need of another architecture is met. One that this edgeopt does not know is not: a newer one wrote it.

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
    """Whether a device is known to have no 8-bit dot product."""
    return features(details) == frozenset()


def is_x86(machine: str) -> bool:
    """Whether a machine has an x86 processor."""
    return machine.lower() in _X86
