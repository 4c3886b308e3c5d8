"""Notes on a run: warnings, errors with hints, doubts about the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.report import quantities
from edgeopt.report.plain import plain
from edgeopt.report.rows import is_on_noise

ONE_PERCENT, TOO_NEAR = 0.01, 0.003

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeopt.report.schema import Comparison, Native, Result, Run


def notes(run: Run) -> list[str]:
    """Return all notes on a run, without duplicates."""
    found = [*map(plain, (*run.notes, *run.model.warnings)), *_about_data(run), *_about_control(run)]
    concerned: dict[str, list[str]] = {}
    for result in run.results:
        for text in _about(result):
            concerned.setdefault(text, []).append(plain(result.target))
    found += [f"{', '.join(dict.fromkeys(targets))}: {text}" for text, targets in concerned.items()]
    found += [plain(doubt) for doubt in run.device.health.get("doubts", ())]
    return list(dict.fromkeys(found))


def shown_path(path: str) -> str:
    """Return a path as a user would type it: relative if it is below the current folder."""
    below = Path(path).is_absolute() and Path(path).is_relative_to(Path.cwd())
    return plain(os.path.relpath(path) if below else path)


def _about_data(run: Run) -> Iterator[str]:
    """Yield the effect of noise instead of real feeds on the figures."""
    done = []
    if any(is_on_noise(run, result) for result in run.results):
        done.append("calibrated")
    compared = run.data.evaluation.source == "noise" and any(result.fidelity for result in run.results)
    if compared:
        done.append("compared")
    if done:
        worth = ", which says little about real inputs" if compared else ""
        # Only an export takes feeds; this may be a profile of its artifacts.
        yield f"{' and '.join(done)} on noise{worth}; export with real feeds: --data FILE.npz"


def _about_control(run: Run) -> Iterator[str]:
    """Yield the difference between two copies of one artifact on this device."""
    control = run.control
    if control is None:
        return
    if control.ratio is not None:
        apart = f"{100 * (max(control.ratio, 1 / control.ratio) - 1):.1f} %"
        launches = f"{control.launches} launch{'' if control.launches == 1 else 'es'}"
        yield f"two copies of {plain(control.target)} differed by {apart} here, in {launches} of each"
    if control.problem:
        what = "the control ended early" if control.launches else "no second copy was measured as a control"
        yield f"{what}: {plain(control.problem)}"


def _about(result: Result) -> Iterator[str]:
    """Yield the notes on one result, without those in its row."""
    for warning in result.warnings:
        if warning != result.untimed:
            yield plain(warning)
    yield from _about_time(result)
    if result.operators_problem:
        yield f"the time of its operators is not known: {plain(result.operators_problem)}"
    if result.sustained_problem and (result.error is None or result.error.message != result.sustained_problem):
        what = "it did not run on to the end" if result.sustained else "how it does when it runs on is not known"
        yield f"{what}: {plain(result.sustained_problem)}"
    if result.error is not None:
        if result.error.hint:
            yield plain(result.error.hint)
        if result.error.log:
            yield f"log {shown_path(result.error.log)}"


def _about_time(result: Result) -> Iterator[str]:
    """Yield the notes on the timing of one result."""
    accelerator = result.artifact.metadata.get("accelerator") if result.artifact else None
    if result.latency is not None and accelerator:
        yield f"ran on {plain(accelerator)}"
    if result.latency is not None and result.latency.ci95_s is None:
        yield "measured in one launch only, so neither its interval nor a verdict is known"
    if result.error is None and result.versus_source is not None and result.versus_source.verdict == "unclear":
        yield _about_unclear(result.versus_source)
    if result.latency is not None and not result.latency.steady:
        yield "its latency had not settled when its measuring began"
    if result.native is not None:
        yield _about_native(result.native)


def _about_unclear(compared: Comparison) -> str:
    """Return how to decide whether an artifact is faster than the source."""
    text = "faster or slower than the source is unclear"
    if bound := quantities.within(compared.within):
        text += f" ({bound})"
    if compared.seconds_needed is not None:
        takes = f", in about {quantities.time_span(round(compared.takes_s))}" if compared.takes_s else ""
        return f"{text}; --seconds {compared.seconds_needed:g} would probably decide{takes}"
    if _is_near_one_percent(compared):
        return f"{text}: the difference is too near 1 %, below which two artifacts are the same"
    return f"{text}; more --seconds or a quieter device may decide"


def _is_near_one_percent(compared: Comparison) -> bool:
    """Return whether a difference is known to be too near 1 % for any measurement to decide."""
    if compared.speedup is None or compared.within is None:
        return False
    effect = abs(compared.speedup - 1)
    return abs(effect - ONE_PERCENT) < TOO_NEAR and compared.within - effect < 2 * TOO_NEAR


def _about_native(native: Native) -> str:
    """Return the meaning and the limits of a benchmark program's figures."""
    what = "mean" if native.median_s is None else "median"
    return (
        f"the {what} of {native.count:,} inferences, timed by {plain(native.program)}; its outputs are not known, so"
        " nothing is compared"
    )
