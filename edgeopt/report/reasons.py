"""Explain by operators and kernels why an artifact is faster or slower than the most accurate one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeopt.report import quantities
from edgeopt.report.operators import CLOCK_S, MIXED, duration, kernel_of, named, profiled, share, total_s, whole_s
from edgeopt.report.plain import plain
from edgeopt.report.sentences import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeopt.report.schema import Operator, Result, Run

WORTH_TELLING = 0.05
"""Minimum share of the time that explains a difference."""
MOST_CHANGES = 4
AS_FAST = 1.05
"""Two latencies within this factor are called the same here; the table has the verdict."""
ADDING_UP = 1.25
"""Factor by which operators and latency may differ without a report."""


def reasons(run: Run) -> list[str]:
    """Return sentences about the profiled artifacts."""
    results = profiled(run)
    if not results:
        return []
    truest = max(results, key=_truth)
    found = [sentence for other in results if other is not truest for sentence in _beside(other, truest)]
    kernels = {operator.kernel for result in results for operator in result.operators}
    if len(kernels) == 1:
        found.append(f"All operators ran in {_kernel(*kernels)}.")
    return [*found, *(doubt for result in results for doubt in _doubts(result))]


def _truth(result: Result) -> float:
    """Return the SQNR in dB, infinite if exact, minus infinity if unknown."""
    fidelity = result.fidelity
    if fidelity is None or fidelity.sqnr_db is None:
        return math.inf if fidelity is not None and fidelity.is_exact else -math.inf
    return fidelity.sqnr_db


def _beside(other: Result, base: Result) -> list[str]:
    """Return the reasons why an artifact is faster or slower than another."""
    largest_s = max(total_s(other.operators), total_s(base.operators))
    names = dict.fromkeys(operator.name for operator in (*other.operators, *base.operators))
    found = {name: (named(base, name), named(other, name)) for name in names}
    gains_s = {name: abs(total_s(before) - total_s(after)) for name, (before, after) in found.items()}
    telling = [name for name in names if gains_s[name] > 0 and gains_s[name] >= WORTH_TELLING * largest_s]
    telling.sort(key=lambda name: -gains_s[name])
    changes = [_change(name, *found[name], other, base) for name in telling[:MOST_CHANGES]]
    why = "; ".join(changes) or "no type of operator differs much"
    return [f"{_verdict(other, base)}: {why}.", *_kernels(found, other, base)]


def _verdict(other: Result, base: Result) -> str:
    """Return the speed of an artifact relative to another, by latency if both have one."""
    here, there = plain(other.target), plain(base.target)
    both = other.latency is not None and base.latency is not None
    after_s, before_s = (r.latency.median_s if both and r.latency else total_s(r.operators) for r in (other, base))
    if min(before_s, after_s) <= 0 or max(before_s, after_s) <= AS_FAST * min(before_s, after_s):
        return f"{here} is as fast as {there} here"
    return f"{here} is {_times(before_s, after_s)} than {there} here"


def _times(before_s: float, after_s: float) -> str:
    """Return a change of time, with a factor unless a time is too short for one."""
    faster = after_s <= before_s
    word, (short_s, long_s) = ("faster", (after_s, before_s)) if faster else ("slower", (before_s, after_s))
    return word if short_s < CLOCK_S else f"{quantities.ratio(long_s / short_s)} {word}"


def _change(name: str, before: Sequence[Operator], after: Sequence[Operator], other: Result, base: Result) -> str:
    """Return the change in one type of operator."""
    before_s, after_s = total_s(before), total_s(after)
    if not before:
        part = share(after_s, whole_s(other))
        return f"{plain(name)}, which {plain(base.target)} has not, takes {part} of its time"
    if not after:
        return f"{plain(name)}, {share(before_s, whole_s(base))} of the time of {plain(base.target)}, is gone"
    return f"{plain(name)} is {_times(before_s, after_s)} ({duration(before_s)} to {duration(after_s)})"


def _kernels(found: dict[str, tuple[list[Operator], list[Operator]]], other: Result, base: Result) -> list[str]:
    """Return the operators that ran in other kernels and take a relevant share of the time."""
    moved: dict[tuple[str, str], list[str]] = {}
    for name, (before, after) in found.items():
        kernels, after_s = (kernel_of(before), kernel_of(after)), total_s(after)
        if before and after and kernels[0] != kernels[1] and after_s >= WORTH_TELLING * whole_s(other):
            moved.setdefault(kernels, []).append(f"{plain(name)} ({share(after_s, whole_s(other))} of its time)")
    here, there = plain(other.target), plain(base.target)
    return [
        f"In {here} {listed(names)} ran in {_kernel(after)}, in {there} in {_kernel(before)}."
        for (before, after), names in moved.items()
    ]


def _kernel(kernel: str) -> str:
    return "kernels of several kinds" if kernel == MIXED else f"{plain(kernel)} kernels"


def _doubts(result: Result) -> Iterable[str]:
    """Yield a sentence if operators and latency do not add up."""
    if result.latency is None:
        return
    inference_s, together_s = result.latency.median_s, total_s(result.operators)
    if together_s * ADDING_UP < inference_s:
        yield (
            f"The operators of {plain(result.target)} take {duration(together_s)} together, and an inference"
            f" {duration(inference_s)}: the rest lies between them, or in some that are too short for the profiler."
        )
    elif together_s > inference_s * ADDING_UP:
        yield (
            f"The operators of {plain(result.target)} take {duration(together_s)} together with the profiler, and an"
            f" inference {duration(inference_s)} without it: the profiler slows them down, or the device was busy."
        )
