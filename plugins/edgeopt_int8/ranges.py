"""Weights of 7 or 8 bits: which of them a file gets, and what that means for the processors that run it.

Without VNNI, an x86 processor multiplies unsigned activations by signed weights with `vpmaddubsw` (or its SSE twin),
which adds two products in 16 bits and saturates. Two products of 255 and 64 still fit: 2 x 255 x 64 = 32,640.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Choice: TypeAlias = Literal["auto", "true", "false"]
"""The values of the option `reduce_range`."""
HELP = (
    "weights of 7 bits, which x86 processors without VNNI compute correctly; with false they have 8 bits, and such a"
    " processor computes wrong results; auto: 7 bits, unless the device that --device names has an 8-bit dot product"
    " and 8 bits are more accurate"
)
REDUCED, FULL = 7, 8
NEEDS = ("vnni",)
"""What an x86 processor must have to run a file with weights of 8 bits."""
FALLBACK = "reduce_range=true"
"""The setting that makes a file without these needs."""
WORTH_DB = 1.0
"""How much more accurate 8 bits must be than 7 to be chosen; two sets of feeds differ by less."""


@dataclass(frozen=True, slots=True)
class WeightBits:
    """How many bits the weights of a file have, and why."""

    bits: int
    reason: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The processor features that the file needs, as in `Artifact.needs`."""
        return NEEDS if self.bits == FULL else ()

    @property
    def fallback(self) -> str:
        """The setting that makes a file without needs, as in `Artifact.fallback`."""
        return FALLBACK if self.bits == FULL else ""

    @property
    def note(self) -> str:
        """A sentence for the user."""
        return f"{self.bits}-bit weights: {self.reason}"

    @property
    def metadata(self) -> dict[str, str | int]:
        """The facts for the manifest."""
        return {"weight_bits": self.bits, "weight_bits_reason": self.reason}


def candidates(choice: Choice, cpu_features: Collection[str]) -> tuple[int, ...]:
    """Return the numbers of bits to try: one, or both if their accuracy is to decide.

    Args:
        choice: The value of the option.
        cpu_features: The 8-bit instructions of the device, as in `ExportRequest.cpu_features`.
    """
    if choice == "auto":
        return (REDUCED, FULL) if cpu_features else (REDUCED,)
    return (REDUCED,) if choice == "true" else (FULL,)


def choose(choice: Choice, sqnr_db: Mapping[int, float]) -> WeightBits:
    """Return the weights to ship.

    Args:
        choice: The value of the option.
        sqnr_db: The signal-to-noise ratio of each candidate against the float file, by its number of bits.
    """
    if choice == "false":
        return WeightBits(FULL, "as requested; x86 processors without VNNI compute wrong results with this file")
    if choice == "true" or FULL not in sqnr_db:
        return WeightBits(REDUCED, "this file is right on processors without VNNI too")
    gain_db = sqnr_db[FULL] - sqnr_db[REDUCED]
    if gain_db > WORTH_DB:
        return WeightBits(
            FULL,
            f"{gain_db:.1f} dB more accurate than 7 bits here, and the device has an 8-bit dot product; x86 processors"
            " without VNNI compute wrong results with this file",
        )
    return WeightBits(REDUCED, "8 bits are not measurably more accurate here, and this file is right without VNNI too")
