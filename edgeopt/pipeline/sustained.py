"""Run every timed artifact continuously for minutes, and record how its latency changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.errors import UsageError
from edgeopt.measure.facts import summarise_health
from edgeopt.measure.sustained import Endurance, Settings, compare, reversal, winners
from edgeopt.pipeline.harnesses import reconnect
from edgeopt.pipeline.timing import make_subjects
from edgeopt.report.quantities import counted, time_span
from edgeopt.report.schema import Sustained

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable
    from pathlib import Path

    from edgeopt.devices.base import Device
    from edgeopt.measure.sustained import Stretch
    from edgeopt.pipeline.entries import Entry
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.pipeline.workspace import Workspace

NOT_NATIVELY = "a benchmark program runs for its own time only"
STOPPED = "stopped before it was done"


def measure_sustained(  # noqa: PLR0913 - each is a part of its own
    entries: Iterable[Entry],
    feeds: Path,
    *,
    device: Device,
    workspace: Workspace,
    settings: ExportSettings,
    progress: Progress,
    stopping: threading.Event,
) -> None:
    """Store each timed artifact's sustained performance, or why it is missing, in its entry.

    The source model is left out, since it is not shipped. Call this after all other measurements, since it heats the
    device. An artifact that fails here has failed, as if it had died during timing.
    """
    entries = list(entries)
    for entry in entries:
        entry.sustained_problem = NOT_NATIVELY if entry.native is not None else ""
    timed = {entry.name: entry for entry in entries if entry.error is None and _was_timed(entry)}
    if not timed or settings.sustained_s is None:
        return
    wanted = Settings(settings.sustained_s, settings.threads, settings.seed, settings.timeout_s)
    least, most = (time_span(len(timed) * times * wanted.seconds) for times in (1, 2))
    progress.say(
        f"running {counted(len(timed), 'artifact')} on for {time_span(wanted.seconds)} each, one after another, with"
        f" rests that let the device cool: {least} to {most}"
    )
    endurance = Endurance(
        make_subjects(None, timed.values(), feeds, device=device, workspace=workspace, settings=settings),
        wanted,
        health=device.health,
        stopping=stopping,
        progress=progress.stage,
        done=progress.done,
        reconnect=lambda: reconnect(device, progress.say),
    )
    try:
        endurance.run()
    finally:  # also keep the measurements after Ctrl-C
        _take(endurance, timed)


def _was_timed(entry: Entry) -> bool:
    return entry.measurement is not None and any(launch.rounds for launch in entry.measurement.launches)


def _take(endurance: Endurance, timed: dict[str, Entry]) -> None:
    """Store the results, and why they are missing or incomplete."""
    found = endurance.found
    noise = {name: reversal(stretch.parts) for name, stretch in found.items()}
    cold = winners({name: stretch.cold for name, stretch in found.items()}, noise)
    hot = winners({name: stretch.hot for name, stretch in found.items() if stretch.hot is not None}, noise)
    for name, entry in timed.items():
        if name in found:
            entry.sustained = _record(found[name], is_cold=name in cold, is_hot=name in hot)
        problem = endurance.errors.get(name) or endurance.lost.get(name)
        if problem is not None:
            entry.sustained_problem = problem.message
        elif name not in found or found[name].hot is None:
            entry.sustained_problem = STOPPED
        # A UsageError means that the request does not suit the artifact, not that the artifact failed.
        if name in endurance.errors and not isinstance(problem, UsageError):
            entry.error = problem


def _record(stretch: Stretch, *, is_cold: bool, is_hot: bool) -> Sustained:
    """Return the sustained record of one artifact."""
    parts, first, last = stretch.parts, stretch.cold, stretch.hot
    slowdown = last.median_s / first.median_s if last and last.median_s and first.median_s else None
    return Sustained(
        seconds=stretch.settings.seconds,
        part_s=stretch.settings.part_s,
        medians_s=tuple(part.median_s for part in parts),
        ci95_s=tuple(part.ci95_s for part in parts),
        iterations=tuple(part.iterations for part in parts),
        slowdown=slowdown,
        verdict=compare(last, first, reversal(parts)) if last and slowdown is not None else None,
        fastest_cold=is_cold,
        fastest_hot=is_hot,
        health=summarise_health(stretch.before, stretch.after, {}) if stretch.after is not None else {},
    )
