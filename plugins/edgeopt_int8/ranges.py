"""Chooses between 7-bit and 8-bit weights and describes which processors run the file correctly.

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
"""Minimum gain in dB that 8 bits need over 7 to be chosen; two sets of feeds differ by less."""
SAFE = "this file is right on processors without VNNI too"
UNJUDGED = f"{SAFE}, and 8-bit weights cannot be judged on this machine, which has no VNNI"
WRONG = "x86 processors without VNNI compute wrong results with this file"


@dataclass(frozen=True, slots=True)
class WeightBits:
    """Number of bits of a file's weights and the reason; 0 bits without 8-bit integers."""

    bits: int = 0
    reason: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Processor features that the file needs, as in `Artifact.needs`."""
        return ("vnni",) if self.bits == FULL else ()

    @property
    def fallback(self) -> str:
        """Setting that produces a file without needs, as in `Artifact.fallback`."""
        return "reduce_range=true" if self.bits == FULL else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        return (f"{self.bits}-bit weights: {self.reason}",) if self.bits else ()

    @property
    def metadata(self) -> dict[str, str | int]:
        """Facts for the manifest."""
        return {"weight_bits": self.bits, "weight_bits_reason": self.reason} if self.bits else {}


NO_INTEGERS = WeightBits()
"""For a file without 8-bit integers."""


def candidates(choice: Choice, cpu_features: Collection[str]) -> tuple[int, ...]:
    """Return the bit widths to try: one, or both if accuracy decides.

    Args:
        choice: The value of the option.
        cpu_features: The device's 8-bit dot products, as in `ExportRequest.cpu_features`.
    """
    if choice == "auto":
        return (REDUCED, FULL) if cpu_features else (REDUCED,)
    return (REDUCED,) if choice == "true" else (FULL,)


def make_each(tried: Collection[int], make: Callable[[int], T]) -> dict[int, T]:
    """Return the result for each bit width; if the first succeeds, others may fail.

    Raises:
        ExportError: The first bit width fails.
    """
    made: dict[int, T] = {}
    for bits in tried:
        try:
            made[bits] = make(bits)
        except ExportError:  # noqa: PERF203 - at most two
            if not made:
                raise
    return made


def choose(choice: Choice, sqnr_db: Mapping[int, float]) -> WeightBits:
    """Return the weights to ship.

    Args:
        choice: The value of the option.
        sqnr_db: Signal-to-noise ratio of each candidate against the float file, by bit width.
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
