"""A complete run: plan, export, evaluate, time, and write the resulting document."""

from __future__ import annotations

import re
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgeopt.data import demo_feeds, load_feeds, noise_feeds
from edgeopt.devices import open_device
from edgeopt.devices.book import LOCAL
from edgeopt.devices.local import LocalDevice
from edgeopt.errors import BadInputError, EdgeoptError, UsageError, in_words
from edgeopt.measure.instructions import features
from edgeopt.npz import NpzFile
from edgeopt.pipeline.entries import Entry
from edgeopt.pipeline.export_job import ExportJob
from edgeopt.pipeline.exporting import Workers
from edgeopt.pipeline.findings import Findings, ShippedModel, data_record, exit_code, make_run, model_record, now
from edgeopt.pipeline.native import choose_native
from edgeopt.pipeline.plan import checked, make_plan, refuse_unfit
from edgeopt.pipeline.ranking import Bound
from edgeopt.pipeline.workspace import RUN, Workspace
from edgeopt.source.choice import DEMO, resolve_source
from edgeopt.source.project import read_project
from edgeopt.targets import choose, find_targets, split_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeopt.data import FeedSet
    from edgeopt.devices.base import Device
    from edgeopt.errors import ExitCode
    from edgeopt.pipeline.exporting import OpenedModel
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.report.schema import Run
    from edgeopt.source.choice import SourceChoice
    from edgeopt.targets import Target


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run."""

    run: Run
    code: ExitCode
    failure: Exception | None = None
    """The error that ended the run early or prevented saving it; `run` holds all findings nevertheless."""

    def to_json(self) -> str:
        """Return the run as one JSON document."""
        return self.run.to_json()


def run_export(settings: ExportSettings, progress: Progress) -> Outcome:
    """Export the model for every target, run every artifact, and return the findings.

    A failed target becomes a row of the run and does not stop the others. The run is written to `run.json` in the
    output folder, with the findings so far, even if the user interrupts it or edgeopt itself fails.

    Raises:
        UsageError: A name or an option is invalid.
        BadInputError: The model, the data or a target file is unusable, or the output folder is not writable.
    """
    started = now()
    settings = _completed(settings)
    if settings.data is not None:
        with NpzFile.open(settings.data):  # fail before opening the model, which is slow
            pass
    targets = choose(settings.targets, find_targets(more=settings.targets_dirs))
    # If a target cannot be planned, it becomes a row if it came with `all`, and ends the command if it was named.
    targets = [target if target.name in settings.targets else checked(target) for target in targets]
    plans = make_plan(targets, settings.settings)
    with ExitStack() as stack:
        choice = _resolve(settings, stack)
        host = stack.enter_context(closing(LocalDevice()))
        host.warm_up()
        named = _named_device(settings, targets)
        is_here = (named or LOCAL) == LOCAL
        device: Device = host if is_here else stack.enter_context(closing(open_device(named or LOCAL)))
        device.claim(progress.say, settings.timeout_s)
        facts = device.facts()
        native = choose_native(settings.native_program, device, facts, progress)
        plans = refuse_unfit(plans, device) if native is None else native.refuse_unfit(plans)
        workspace = stack.enter_context(Workspace.create(settings.out, choice.name))
        stack.enter_context(workspace.claim())
        # Without a named device, the artifacts may be shipped to any processor.
        cpu_features = tuple(sorted(features(facts.details) or ())) if named else ()
        workers = stack.enter_context(closing(Workers(choice, workspace, settings, progress, host, cpu_features)))
        opened = workers.open_model()
        shipped = ShippedModel.of(opened.path)
        feeds = _make_feeds(settings, choice, opened, workspace.scratch)
        found = Findings(
            started=started,
            command=settings.command,
            folder=workspace.folder,
            model=model_record(choice, opened, shipped),
            data=data_record(feeds),
            source=shipped.record(choice.path),
            evaluation=feeds.evaluation,
            facts=facts,
            entries={plan.target.name: Entry(plan, getattr(plan, "error", None)) for plan in plans},
            bound=Bound(settings.min_agreement, settings.min_sqnr_db) if settings.rank else None,
        )
        job = ExportJob(
            settings=settings,
            progress=progress,
            workspace=workspace,
            device=device,
            found=found,
            native=native,
            saved_model=opened.saved_model,
            host=host,
            opened=opened,
            feeds=feeds,
        )
        return _carry_out(job, workers)


def _carry_out(job: ExportJob, workers: Workers) -> Outcome:
    """Run the steps of a job; if they end early, keep the findings so far."""
    failure: Exception | None = None
    try:
        try:
            job.export(workers)
            workers.close()  # free their memory and leave the machine to the measurement
            with suppress(BadInputError):  # the final save reports it
                job.save(make_run(job.found))  # if this process dies later, the artifacts can still be profiled
            job.measure()
            if job.settings.ops:
                job.measure_operators()
            if job.settings.sustained_s is not None:
                job.measure_sustained()
        except Exception as error:  # noqa: BLE001 - a bug must not cost earlier findings
            failure = error
            job.stop(error if isinstance(error, EdgeoptError) else EdgeoptError(f"a bug in edgeopt: {in_words(error)}"))
        run = make_run(job.found)
        try:
            job.save(run)
        except BadInputError as error:
            failure = failure or error
    except KeyboardInterrupt:
        job.stop()
        with suppress(EdgeoptError):
            job.save(make_run(job.found))
            job.progress.say(f"what was known by then is in {job.workspace.folder / RUN}")
        raise
    return Outcome(run, exit_code(run, job.settings.targets), failure)


def _completed(settings: ExportSettings) -> ExportSettings:
    """Return the settings, completed from the project in the current folder.

    Raises:
        UsageError: Neither the settings nor the project name a target.
    """
    project = read_project(Path.cwd())
    names = split_names(settings.targets or project.targets)
    if not names:
        raise UsageError("no target was named", hint="for instance --target tflite-int8; edgeopt targets lists all")
    data = settings.data
    if data is None and settings.model is None and project.model is not None and project.data is not None:
        data = Path(project.data)  # valid for the project's own model only
    return replace(settings, targets=names, data=data)


def _resolve(settings: ExportSettings, stack: ExitStack) -> SourceChoice:
    """Resolve the source model; one in memory is saved to a folder that is removed with `stack`."""
    if settings.model is None or isinstance(settings.model, str):
        return _resolve_path(settings, settings.model)
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="edgeopt-model-")))
    file = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', str(getattr(settings.model, 'name', 'model')))}.keras"
    try:
        settings.model.save(file)
    except (AttributeError, ValueError, OSError) as error:
        raise BadInputError(
            f"the model is a {type(settings.model).__name__} that cannot be saved as .keras: {error}",
            hint="give a path, keras:NAME or a Keras 3 model",
        ) from error
    return replace(_resolve_path(settings, str(file)), chosen_by="the program")


def _resolve_path(settings: ExportSettings, model: str | None) -> SourceChoice:
    return resolve_source(
        model,
        weights=settings.weights,
        input_shapes=settings.input_shapes,
        input_ranges=settings.input_ranges,
        batch=settings.batch,
        signature=settings.signature,
        custom_modules=settings.custom_modules,
        trusted=settings.trusted,
    )


def _named_device(settings: ExportSettings, targets: Iterable[Target]) -> str | None:
    """Return the requested device, else the one named by the targets, else None.

    Raises:
        UsageError: The targets name different devices.
    """
    if settings.device:
        return settings.device
    named = sorted({target.device for target in targets if target.device is not None})
    if len(named) > 1:
        raise UsageError(f"the targets name different devices: {', '.join(named)}", hint="choose one with --device")
    return named[0] if named else None


def _make_feeds(settings: ExportSettings, choice: SourceChoice, opened: OpenedModel, scratch: Path) -> FeedSet:
    """Write the calibration and evaluation feeds: the user's, the demo's, or noise."""
    folder = scratch / "feeds"
    if settings.data is not None:
        try:
            return load_feeds(settings.data, opened.inputs, folder, outputs=opened.outputs, seed=settings.seed)
        except BadInputError as error:
            if choice.path == str(DEMO):
                error.hint = f"no model was named, so this is the embedded demo{error.hint and '; '}{error.hint}"
            raise
    if choice.path == str(DEMO):
        return demo_feeds(opened.inputs, folder)
    return noise_feeds(opened.inputs, opened.ranges, folder, seed=settings.seed)
