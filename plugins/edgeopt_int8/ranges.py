"""Weights of 7 or 8 bits: which of them a file gets, and what that means for the processors that run it.

Without VNNI, an x86 processor multiplies unsigned activations by signed weights with `vpmaddubsw` (or its SSE twin),
which adds two products in 16 bits and saturates. Two products of 255 and 64 still fit: 2 x 255 x 64 = 32,640.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from edgeopt.api import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

T = TypeVar("T")
Choice: TypeAlias = Literal["auto", "true", "false"]
"""The values of the option `reduce_range`."""
HELP = (
    "bits of the weights; true: 7, right on every processor; false: 8, wrong on x86 processors without VNNI; auto: 7,"
    " unless --device names a device with an 8-bit dot product and 8 bits are more accurate"
)
REDUCED, FULL = 7, 8
WORTH_DB = 1.0
"""How much more accurate 8 bits must be than 7 to be chosen; two sets of feeds differ by less."""
SAFE = "this file is right on processors without VNNI too"
UNJUDGED = f"{SAFE}, and 8-bit weights cannot be judged on this machine, which has no VNNI"
WRONG = "x86 processors without VNNI compute wrong results with this file"


@dataclass(frozen=True, slots=True)
class WeightBits:
    """How many bits the weights of a file have, and why; no bits if it has no 8-bit integers."""

    bits: int = 0
    reason: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """The processor features that the file needs, as in `Artifact.needs`."""
        return ("vnni",) if self.bits == FULL else ()

    @property
    def fallback(self) -> str:
        """The setting that makes a file without needs, as in `Artifact.fallback`."""
        return "reduce_range=true" if self.bits == FULL else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know."""
        return (f"{self.bits}-bit weights: {self.reason}",) if self.bits else ()

    @property
    def metadata(self) -> dict[str, str | int]:
        """The facts for the manifest."""
        return {"weight_bits": self.bits, "weight_bits_reason": self.reason} if self.bits else {}


NO_INTEGERS = WeightBits()
"""Of a file without 8-bit integers."""


def candidates(choice: Choice, cpu_features: Collection[str]) -> tuple[int, ...]:
    """Return the numbers of bits to try: one, or both if their accuracy is to decide.

    Args:
        choice: The value of the option.
        cpu_features: The 8-bit dot products of the device, as in `ExportRequest.cpu_features`.
    """
    if choice == "auto":
        return (REDUCED, FULL) if cpu_features else (REDUCED,)
    return (REDUCED,) if choice == "true" else (FULL,)


def make_each(tried: Collection[int], make: Callable[[int], T]) -> dict[int, T]:
    """Return what is made with each number of bits; if the first works, others may fail.

    Raises:
        ExportError: The first fails.
    """
    made: dict[int, T] = {}
    for bits in tried:
        try:
            made[bits] = make(bits)
        except ExportError:  # noqa: PERF203 - two at most
            if not made:
                raise
    return made


def choose(choice: Choice, sqnr_db: Mapping[int, float]) -> WeightBits:
    """Return the weights to ship.

    Args:
        choice: The value of the option.
        sqnr_db: The signal-to-noise ratio of each candidate against the float file, by its number of bits.
    """
    if choice == "false":
        return WeightBits(FULL, f"as requested; {WRONG}")
    if choice == "true" or FULL not in sqnr_db:
        return WeightBits(REDUCED, SAFE)
    gain_db = sqnr_db[FULL] - sqnr_db[REDUCED]
    if math.isfinite(gain_db) and gain_db > WORTH_DB:
        reason = f"{gain_db:.1f} dB more accurate than 7 bits here, and the device has an 8-bit dot product; {WRONG}"
        return WeightBits(FULL, reason)
    return WeightBits(REDUCED, f"8 bits are not measurably more accurate here, and {SAFE}")
