"""What was measured of one artifact, raw: launches, their rounds, and the error that ended it, if one did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeopt.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeopt.errors import EdgeoptError


@dataclass(frozen=True, slots=True)
class Launch:
    """What one process of an artifact gave; `rounds` are nanoseconds, empty where a round was lost."""

    number: int
    """Launches with one number were measured side by side, and so were rounds with one position."""
    load_s: float
    first_s: float
    steady: bool
    rounds: tuple[tuple[int, ...], ...]
    peak_bytes: int | None
    """None where the process ended before it was asked."""
    model_bytes: int | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything that was measured of one artifact, raw."""

    name: str
    threads: int
    launches: tuple[Launch, ...]
    untimed: str | None = None
    """Why its time would mean nothing; then there are no rounds."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: EdgeoptError | None = None
    """What ended it early; the launches are what was measured before."""

    @property
    def only_stopped(self) -> bool:
        """Whether nothing but the user ended it, who may use what was measured by then."""
        return isinstance(self.error, StoppedError) and bool(self.launches)

    @property
    def peak_bytes(self) -> int | None:
        """The largest memory of any of its processes."""
        return max((launch.peak_bytes for launch in self.launches if launch.peak_bytes is not None), default=None)

    @property
    def model_bytes(self) -> int | None:
        """What loading and the first inference added; the median launch."""
        known = sorted(launch.model_bytes for launch in self.launches if launch.model_bytes is not None)
        return known[len(known) // 2] if known else None
