"""The raw measurement of one artifact: launches, their rounds, and the error that ended it, if any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeopt.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeopt.errors import EdgeoptError


@dataclass(frozen=True, slots=True)
class Launch:
    """Results of one process of an artifact; `rounds` are nanoseconds, and a lost round is empty."""

    number: int
    """Launches with the same number were measured side by side, as were rounds at the same position."""
    load_s: float
    first_s: float
    steady: bool
    rounds: tuple[tuple[int, ...], ...]
    peak_bytes: int | None
    """None if the process ended before the query."""
    model_bytes: int | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """All raw results of one artifact."""

    name: str
    threads: int
    launches: tuple[Launch, ...]
    untimed: str | None = None
    """Why its time would be meaningless; its rounds are then empty."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: EdgeoptError | None = None
    """The error that ended it early; `launches` hold the results up to then."""

    @property
    def only_stopped(self) -> bool:
        """Whether only the user ended it, who may use the results up to then."""
        return isinstance(self.error, StoppedError) and bool(self.launches)

    @property
    def peak_bytes(self) -> int | None:
        """The largest memory of any of its processes."""
        return max((launch.peak_bytes for launch in self.launches if launch.peak_bytes is not None), default=None)

    @property
    def model_bytes(self) -> int | None:
        """The memory added by loading and the first inference, in the median launch."""
        known = sorted(launch.model_bytes for launch in self.launches if launch.model_bytes is not None)
        return known[len(known) // 2] if known else None
