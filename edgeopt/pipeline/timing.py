"""Time every artifact, and the source model if it can run, side by side in separate processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.measure.process import Subject
from edgeopt.measure.session import Session, Settings
from edgeopt.measure.stats import round_spread
from edgeopt.pipeline.harnesses import elsewhere, open_harness, push_artifact, reconnect
from edgeopt.report.schema import SOURCE_TARGET
from edgeopt.source.choice import RUNNER, RUNNER_REQUIRES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeopt.devices.base import Device
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.measure.journal import Journal
    from edgeopt.measure.measurement import Measurement
    from edgeopt.pipeline.entries import Entry
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.pipeline.workspace import Workspace


def make_session(  # noqa: PLR0913 - each is a part of its own
    saved_model: Path | None,
    entries: Iterable[Entry],
    feeds: Path,
    *,
    device: Device,
    workspace: Workspace,
    settings: ExportSettings,
    progress: Progress,
    journal: Journal,
    free_bytes: int | None,
) -> Session:
    """Return a session that measures every entry, and the source model if it is given."""
    subjects = make_subjects(saved_model, entries, feeds, device=device, workspace=workspace, settings=settings)
    wanted = Settings(
        seconds=settings.seconds,
        min_iterations=settings.min_iterations,
        threads=settings.threads,
        seed=settings.seed,
        timeout_s=settings.timeout_s,
        rank=settings.rank,
    )
    return Session(
        subjects,
        wanted,
        progress.stage,
        source=SOURCE_TARGET,
        reconnect=lambda: reconnect(device, progress.say),
        journal=journal,
        free_bytes=free_bytes,
    )


def make_subjects(  # noqa: PLR0913 - each is a part of its own
    saved_model: Path | None,
    entries: Iterable[Entry],
    feeds: Path,
    *,
    device: Device,
    workspace: Workspace,
    settings: ExportSettings,
) -> list[Subject]:
    """Return the subject of every entry that has an artifact, and of the source model if it is given."""

    def subject(  # noqa: PLR0913, PLR0917 - each is a fact of its own
        name: str,
        runner: Path,
        folder: Path,
        main: Path,
        requires: Iterable[str],
        environment: OwnEnvironment | None = None,
    ) -> Subject:
        return Subject(
            name=name,
            launch=lambda: open_harness(
                name, environment, requires, device=device, workspace=workspace, settings=settings
            ),
            runner=device.push(runner),
            artifact=push_artifact(device, folder, main),
            feeds=device.push(feeds),
            device=elsewhere(device),
        )

    subjects: list[Subject] = []
    if saved_model is not None:
        subjects.append(subject(SOURCE_TARGET, RUNNER, saved_model, saved_model, RUNNER_REQUIRES))
    for entry in entries:
        if entry.exported is not None and entry.folder is not None:
            plan, main = entry.exported.plan, entry.exported.main_in(entry.folder)
            runner, requires = Path(plan.backend.runner), plan.backend.requires
            subjects.append(subject(entry.name, runner, entry.folder, main, requires, plan.environment))
    return subjects


def spreads(found: dict[str, Measurement]) -> dict[str, float]:
    """Return the relative spread of the rounds of each measurement; see `round_spread`."""
    return {name: round_spread(measurement) for name, measurement in found.items() if measurement.launches}
