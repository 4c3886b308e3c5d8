"""How many rounds a launch has, and how many inferences of each artifact a round."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.measure.process import Process

MIN_ROUNDS, MAX_ROUNDS = 8, 600
MIN_CHUNK = 2
"""Fewest iterations in a round."""
CHUNK_S = 0.0033
"""Shortest stretch that an artifact is timed for before another one gets the caches.

What a neighbour on a shared machine does to the clock or the caches lasts for tens of milliseconds. The shorter the
stretch, the more it is the same for both sides of a comparison.
"""
SETTLE_S = 0.001
"""How long it may then run unrecorded to get them back."""


def plan_rounds(processes: Sequence[Process], seconds: float, iterations: float) -> int:
    """Set how many iterations each process runs per round, and return how many rounds a launch has.

    All have the same number of rounds, so the slowest decides it: it needs a few iterations in each.

    Args:
        processes: Everything that is timed side by side.
        seconds: How long a launch times each of them, about.
        iterations: How many inferences of each it times at least.
    """
    if not processes:
        return 0
    slowest_s = max(process.latency_s for process in processes)
    possible = min(max(seconds / slowest_s, iterations) / MIN_CHUNK, seconds / CHUNK_S)
    rounds = max(MIN_ROUNDS, min(MAX_ROUNDS, int(possible)))
    for process in processes:
        in_time = int(seconds / process.latency_s / rounds)
        process.iterations = max(MIN_CHUNK, in_time, math.ceil(iterations / rounds))
        process.settle = max(1, math.ceil(SETTLE_S / process.latency_s))
    return rounds
