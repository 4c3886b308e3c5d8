"""Measure existing artifacts and their fidelity, on one device or several at once."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeopt.data import noise_feeds
from edgeopt.devices import find_device, is_here
from edgeopt.devices.book import LOCAL
from edgeopt.errors import EdgeoptError, ExitCode, StoppedError, UsageError, in_words
from edgeopt.measure.facts import Facts
from edgeopt.pipeline.entries import Entry
from edgeopt.pipeline.findings import Findings, exit_code, make_run, now
from edgeopt.pipeline.job import Job
from edgeopt.pipeline.made import make_entries, read_made
from edgeopt.pipeline.native import choose_native
from edgeopt.pipeline.needs import unmet_needs
from edgeopt.pipeline.plan import Plan, refuse_unfit
from edgeopt.pipeline.ranking import Bound
from edgeopt.pipeline.reference import load_reference
from edgeopt.pipeline.sustained import STOPPED
from edgeopt.pipeline.workspace import Workspace, slug
from edgeopt.report.document import to_json
from edgeopt.targets import split_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgeopt.devices.base import Device
    from edgeopt.pipeline.made import Made
    from edgeopt.pipeline.reference import Reference
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.report.schema import DataRecord, Run

POLL_S = 0.01
SOURCE_UNTIMED = "a profile times artifacts, not the model"


@dataclass(frozen=True, slots=True)
class Profiles:
    """The outcome of a profile: one run per device, in the order in which they were named."""

    runs: tuple[Run, ...]
    documents: tuple[str, ...]
    """Per run, the name of its file in the folder of the artifacts."""
    code: ExitCode
    failure: Exception | None = None
    """The error that ended one of the runs early; `runs` hold all findings nevertheless."""

    def to_json(self) -> str:
        """Return all runs as one JSON document."""
        return to_json({"schema": 1, "runs": [run.to_dict() for run in self.runs]})


@dataclass(slots=True, kw_only=True)
class ProfileJob(Job):
    """Measures existing artifacts on one device."""

    reference: Reference | None
    """None if outputs of the source model were not kept; then fidelity is not measured."""

    def judge(self) -> None:
        """Run every artifact on the evaluation feeds, and compare its outputs with the source's."""
        for entry in self.found.entries.values():
            if entry.error is not None or entry.exported is None or self._stopping.is_set():
                continue
            with self._failing_alone(entry):
                evaluation = self._answer(entry, entry.exported)
                if self.reference is not None:
                    self._judge(entry, evaluation, self.reference.outputs, self.reference.labels)
            self.progress.done(entry.name, f"failed: {entry.error.message}" if entry.error else "verified")


@dataclass(frozen=True, slots=True)
class _Basis:
    """Data shared by all devices; read only once, since that is slow."""

    made: Made
    kept: Reference | None
    evaluation: Path
    entries: Mapping[str, Entry]

    @classmethod
    def read(cls, made: Made, scratch: Path, seed: int) -> _Basis:
        """Read the artifacts and the reference; use noise as feeds if the reference is missing."""
        kept = load_reference(made.folder, made.run.model.sha256)
        return cls(made, kept, kept.feeds if kept else _noise(made, scratch, seed), make_entries(made))

    def findings(self, device: str, settings: ExportSettings) -> Findings:
        """Return the initial findings for one device."""
        run = self.made.run
        return Findings(
            started=now(),
            command=settings.command,
            folder=self.made.folder,
            model=run.model,
            data=_data(self.made, self.kept),
            source=run.source.artifact,
            evaluation=self.evaluation,
            facts=Facts(uri=device),
            entries={name: replace(entry) for name, entry in self.entries.items()},
            source_untimed=SOURCE_UNTIMED,
            bound=Bound(settings.min_agreement, settings.min_sqnr_db) if settings.rank and self.kept else None,
        )


@dataclass(slots=True, kw_only=True)
class _OneDevice:
    """The profile on one device, run in a thread."""

    name: str
    settings: ExportSettings
    progress: Progress
    workspace: Workspace
    found: Findings
    reference: Reference | None
    failure: Exception | None = None
    run: Run | None = None
    """The findings; set at the end."""
    _job: ProfileJob | None = None
    _device: Device | None = None
    _cancelled: bool = False

    def carry_out(self) -> None:
        """Connect to the device and measure; if this ends early, keep the findings so far in `run`."""
        for step in (self._measure, self._let_go):
            try:
                step()
            except Exception as error:  # noqa: BLE001, PERF203 - other devices go on, and findings are kept
                self._give_up(error)
        self._save()

    def cancel(self) -> None:
        """Cancel the profile from another thread; keep the measurements so far."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()
        elif self._device is not None:
            self._device.close()

    def _measure(self) -> None:
        if self.name != LOCAL:
            self.progress.stage(self.name, "reaching the device")
        self._device = device = find_device(self.name)
        if self._cancelled:  # `cancel` came before there was a device to close
            raise StoppedError(STOPPED)
        device.connect()
        device.claim(self.progress.say, self.settings.timeout_s)
        self.found.facts = facts = device.facts()
        native = choose_native(self.settings.native_program, device, facts, self.progress)
        plans = [entry.plan for entry in self.found.entries.values()]
        sizes = {name: entry.size_bytes for name, entry in self.found.entries.items()}
        fit = refuse_unfit(plans, device, sizes) if native is None else native.refuse_unfit(plans)
        for entry, plan in zip(self.found.entries.values(), fit, strict=True):
            if not isinstance(plan, Plan):
                entry.plan, entry.error = plan, entry.error or plan.error
            elif entry.exported is not None:
                exported = entry.exported
                entry.error = entry.error or unmet_needs(facts, entry.name, exported.needs, exported.fallback)
        self._job = job = ProfileJob(
            settings=self.settings,
            progress=self.progress,
            workspace=self.workspace,
            device=device,
            found=self.found,
            native=native,
            reference=self.reference,
        )
        if self._cancelled:
            job.cancel()
        if native is None:
            job.judge()
        job.measure()
        if self.settings.ops:
            job.measure_operators()
        if self.settings.sustained_s is not None:
            job.measure_sustained()

    def _let_go(self) -> None:
        if self._device is not None:
            self._device.close()

    def _give_up(self, error: Exception) -> None:
        """Mark incomplete entries with the error that ended the profile."""
        if self._cancelled:  # closing the device makes the current step fail
            error = StoppedError(STOPPED)
        known = error if isinstance(error, EdgeoptError) else EdgeoptError(f"a bug in edgeopt: {in_words(error)}")
        if known is not error:
            self.failure = self.failure or error
        self.progress.done(self.name, f"failed: {known.message}")
        for entry in self.found.entries.values():
            if entry.measurement is None and entry.native is None:
                entry.error = entry.error or known

    def _save(self) -> None:
        """Make the run from the findings, and write it to its document."""
        if self._cancelled and self._job is not None:
            self._job.stop()
        try:
            self.run = make_run(self.found)
        except Exception as error:  # noqa: BLE001 - it must not cost the findings on other devices
            self.failure = error
            bug = EdgeoptError(f"a bug in edgeopt: {in_words(error)}")
            entries = {name: Entry(entry.plan, bug) for name, entry in self.found.entries.items()}
            self.run = make_run(replace(self.found, entries=entries, health={}, bound=None))
        try:
            self.workspace.save(self.run.to_json() + "\n")
        except EdgeoptError as error:
            self.failure = self.failure or error


def run_profile(path: Path, devices: tuple[str, ...], settings: ExportSettings, progress: Progress) -> Profiles:
    """Measure the artifacts at `path` on every device: on this machine in turn, on others at once.

    If a device cannot be reached, the rows of its run report it, and the others continue. Each run is written to
    `profile-DEVICE.json` in the folder of the artifacts, even if the user interrupts it.

    Args:
        path: The folder of a model that `edgeopt export` wrote, or one artifact in it.
        devices: Names or addresses; this machine if empty.
        settings: As for an export; those for the model and for the options of backends are ignored.
        progress: Receives progress messages.

    Raises:
        BadInputError: The folder does not contain an artifact, or is not writable.
        UsageError: A named artifact does not exist, or a device is named twice.
    """
    names = devices or (LOCAL,)
    if doubled := [name for name in names if [slug(other) for other in names].count(slug(name)) > 1]:
        raise UsageError(f"the device {doubled[0]} is named twice", hint="name each device once")
    made = read_made(path, settings.targets)
    with ExitStack() as stack:
        workspace = stack.enter_context(Workspace.create(made.folder.parent, made.folder.name))
        stack.enter_context(workspace.claim())
        basis = _Basis.read(made, workspace.scratch, settings.seed)
        runs = [
            _OneDevice(
                name=name,
                settings=settings,
                progress=_Prefixed.of(progress, name, names),
                workspace=workspace.for_device(name),
                found=basis.findings(name, settings),
                reference=basis.kept,
            )
            for name in names
        ]
        try:
            _carry_out(runs)
        except BaseException:
            progress.say(f"what was known by then is in {made.folder}; take it up again with --resume")
            raise
    found = tuple(run.run for run in runs if run.run is not None)
    failure = next((run.failure for run in runs if run.failure is not None), None)
    # An artifact whose own folder was given counts as requested by name.
    named = (*split_names(settings.targets), *(made.names if made.folder != path.absolute() else ()))
    code = max(_code(run, settings, named) for run in found)
    return Profiles(found, tuple(run.workspace.document for run in runs), code, failure)


def _carry_out(runs: Iterable[_OneDevice]) -> None:
    """Run all profiles, those on this machine in turn; on Ctrl-C, cancel them and their pending work."""
    threads = [threading.Thread(target=_one_after_another, args=(group,)) for group in _apart(runs)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:  # block without polling: this machine may be the one being measured
            thread.join()
    except BaseException:
        for run in runs:
            run.cancel()
        # A thread that was interrupted while starting cannot be joined.
        while set(threads) & set(threading.enumerate()):
            time.sleep(POLL_S)
        raise


def _apart(runs: Iterable[_OneDevice]) -> list[list[_OneDevice]]:
    """Group the runs for running at once; those on this machine share a group, to avoid disturbance."""
    here: list[_OneDevice] = []
    groups = [here]
    for run in runs:
        if is_here(run.name):
            here.append(run)
        else:
            groups.append([run])
    return [group for group in groups if group]


def _one_after_another(runs: Iterable[_OneDevice]) -> None:
    for run in runs:
        run.carry_out()


def _code(run: Run, settings: ExportSettings, named: tuple[str, ...]) -> ExitCode:
    """Return the exit code of one run; a missing best artifact counts only if the user stated a bound."""
    is_stated = settings.min_agreement is not None or settings.min_sqnr_db is not None
    code = exit_code(run if is_stated else replace(run, ranking=None), named)
    is_judged = any(row.status == "ok" and row.fidelity is not None for row in run.results[1:])
    if is_stated and run.ranking is None and not is_judged:
        return max(code, ExitCode.BUDGET_NOT_MET)
    return code


def _noise(made: Made, scratch: Path, seed: int) -> Path:
    """Return feeds of noise for artifacts without a reference, which can still be timed."""
    ranges = {spec.name: (0.0, 1.0) for spec in made.inputs}
    return noise_feeds(made.inputs, ranges, scratch / "feeds", seed=seed).evaluation


def _data(made: Made, reference: Reference | None) -> DataRecord:
    """Return the data record of the export, limited to the samples that were kept."""
    data = made.run.data
    if reference is None:
        return replace(data, evaluation=replace(data.evaluation, source="noise", count=0, labelled=False))
    return replace(data, evaluation=replace(data.evaluation, count=reference.samples))


@dataclass(frozen=True, slots=True)
class _Prefixed:
    """Progress of one device among several; its messages begin with the device's name."""

    progress: Progress
    prefix: str

    @classmethod
    def of(cls, progress: Progress, name: str, names: tuple[str, ...]) -> Progress:
        """Return the progress of one device; without a prefix if it is the only one."""
        return progress if len(names) == 1 else cls(progress, name)

    def stage(self, key: str, text: str) -> None:
        """Report the current step of a part."""
        self.progress.stage(self._named(key), text)

    def done(self, key: str, text: str) -> None:
        """Report the end of a part."""
        self.progress.done(self._named(key), text)

    def say(self, text: str) -> None:
        """Report a message about the whole profile."""
        self.progress.say(f"{self.prefix}: {text}")

    def _named(self, key: str) -> str:
        return key if key == self.prefix else f"{self.prefix} {key}"
