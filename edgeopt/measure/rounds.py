"""Plan the rounds of a launch, and the inferences of each artifact per round."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.measure.process import Process

MIN_ROUNDS, MAX_ROUNDS = 8, 600
MIN_CHUNK = 2
"""Minimum number of iterations in a round."""
CHUNK_S = 0.0033
"""Minimum time for which an artifact is timed before another one gets the caches.

When a neighbour on a shared machine disturbs the clock or the caches, that lasts for tens of milliseconds. The shorter
the stretch, the more equally it affects both sides of a comparison.
"""
SETTLE_S = 0.001
"""Unrecorded time in which it may then refill them."""


def plan_rounds(processes: Sequence[Process], seconds: float, iterations: float) -> int:
    """Set the iterations of each process per round; return the rounds of a launch.

    All have the same number of rounds, so the slowest decides it: it needs a few iterations in each.

    Args:
        processes: All processes that are timed side by side.
        seconds: Approximate time for which a launch times each of them.
        iterations: Minimum number of inferences of each in a launch.
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
