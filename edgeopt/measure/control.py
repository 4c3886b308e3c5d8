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
"""How the name of a control begins. No target has such a name."""
LEAST_LAUNCHES = 3
"""With fewer launches, a bias and the noise of launches cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Control:
    """How much two copies of one artifact differed."""

    name: str
    """The artifact."""
    ratio: float
    ci95: tuple[float, float] | None
    """None after a single launch."""
    launches: int
    bias: float
    """Standard deviation, as a logarithm, of the difference that launches do not explain; 0 if they explain all."""


def check_control(name: str, launches: Sequence[LaunchEffect]) -> Control | None:
    """Return how much the second copy of an artifact differed from the first, None without a launch of both.

    Args:
        name: The artifact.
        launches: The effects of the second copy beside the first.
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
    """Chooses the artifact that a second copy is made of, and says why there is none.

    Args:
        free_bytes: The memory that all processes of a launch may take together; None if it is not known.
        name: The name of the copy in the session that is resumed; empty if there was none.
    """

    def __init__(self, free_bytes: int | None, name: str = "") -> None:
        self._free_bytes = free_bytes
        self.subject: Subject | None = None
        """The copy; None as long as there is none, and after a failure."""
        self.name = name
        """The name of the copy; empty as long as none was chosen."""
        self.problem = ""

    @property
    def original(self) -> str:
        """The name of the artifact."""
        return self.name.removeprefix(PREFIX)

    @property
    def is_open(self) -> bool:
        """Whether a copy can still be chosen."""
        return self.subject is None and not self.problem

    def choose(self, original: Subject, peak_bytes: Mapping[str, int]) -> None:
        """Make a copy of an artifact if there is memory for it.

        Args:
            original: The artifact.
            peak_bytes: The peak memory of each artifact of the launch, by name.
        """
        needed = sum(peak_bytes.values()) + peak_bytes[original.name]
        if self._free_bytes is not None and needed > self._free_bytes:
            self.fail(f"{needed / 2**20:.0f} MiB of memory needed, {self._free_bytes / 2**20:.0f} MiB free")
        else:
            self.name = PREFIX + original.name
            self.subject = replace(original, name=self.name)

    def fail(self, problem: str) -> None:
        """Let no copy take part any more."""
        self.subject, self.problem = None, problem
