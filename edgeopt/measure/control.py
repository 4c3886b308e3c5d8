"""The control of a session: a second copy of one artifact, whose true speed-up over the first is 1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeopt.measure.stats import interval, mean_and_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeopt.measure.effects import LaunchEffect
    from edgeopt.measure.process import Subject

PREFIX = "second copy of "
"""Prefix of a control's name. Target names cannot start with it."""
LEAST_LAUNCHES = 3
"""With fewer launches, bias and launch noise cannot be separated."""


@dataclass(frozen=True, slots=True)
class Control:
    """How much two copies of one artifact differed."""

    name: str
    """Name of the artifact."""
    ratio: float
    ci95: tuple[float, float] | None
    """None after a single launch."""
    launches: int
    bias: float
    """Standard deviation, as a logarithm, of the difference that launches do not explain; 0 if they explain all."""


def check_control(name: str, launches: Sequence[LaunchEffect]) -> Control | None:
    """Return how much two copies of an artifact differed; None without a launch of both.

    Args:
        name: Name of the artifact.
        launches: Effects of the second copy relative to the first.
    """
    if not launches:
        return None
    effects = [launch.effect for launch in launches]
    mean, half = interval(effects)
    ci95 = (math.exp(mean - half), math.exp(mean + half)) if math.isfinite(half) else None
    return Control(name, math.exp(mean), ci95, len(launches), _bias(effects))


def _bias(effects: Sequence[float]) -> float:
    if len(effects) < LEAST_LAUNCHES:
        return 0.0
    mean, error, _ = mean_and_error(effects)
    # The noise is subtracted twice: on a device without bias, at most three sessions in ten then show one.
    return math.sqrt(max(0.0, mean**2 - 2 * error**2))


class SecondCopy:
    """Chooses the artifact to copy, and records why a copy is missing.

    Args:
        free_bytes: Memory available to all processes of a launch together; None if unknown.
        name: Name of the copy in the resumed session; empty without one.
    """

    def __init__(self, free_bytes: int | None, name: str = "") -> None:
        self._free_bytes = free_bytes
        self.subject: Subject | None = None
        """The copy; None before one is chosen, and after a failure."""
        self.name = name
        """Name of the copy; empty before one is chosen."""
        self.problem = ""

    @property
    def original(self) -> str:
        """Name of the copied artifact."""
        return self.name.removeprefix(PREFIX)

    @property
    def is_open(self) -> bool:
        """Whether a copy can still be chosen."""
        return self.subject is None and not self.problem

    def choose(self, original: Subject, peak_bytes: Mapping[str, int]) -> None:
        """Choose an artifact to copy, if memory allows.

        Args:
            original: The artifact.
            peak_bytes: Peak memory of each artifact of the launch, by name.
        """
        needed = sum(peak_bytes.values()) + peak_bytes[original.name]
        if self._free_bytes is not None and needed > self._free_bytes:
            self.fail(f"{needed / 2**20:.0f} MiB of memory needed, {self._free_bytes / 2**20:.0f} MiB free")
        else:
            self.name = PREFIX + original.name
            self.subject = replace(original, name=self.name)

    def fail(self, problem: str) -> None:
        """Exclude the copy from now on."""
        self.subject, self.problem = None, problem
