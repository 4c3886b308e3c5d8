"""A neighbour on this machine: takes a third of every core, in bursts of 50 ms on average."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BURST_S, REST_S = 0.05, 0.1


@contextmanager
def neighbour() -> Iterator[None]:
    """Let a process on every core work in bursts meanwhile."""
    busy = [
        multiprocessing.Process(target=_burn, args=(core,), daemon=True) for core in sorted(os.sched_getaffinity(0))
    ]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.terminate()
            process.join()


def _burn(core: int) -> None:
    os.sched_setaffinity(0, {core})
    draw = random.Random(core)  # noqa: S311 - it varies the load, it keeps no secret
    while True:
        until = time.perf_counter() + draw.expovariate(1 / BURST_S)
        while time.perf_counter() < until:
            pass
        time.sleep(draw.expovariate(1 / REST_S))
