"""The steps of one run over all its targets."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt import artifact
from edgeopt.errors import (
    DegenerateError,
    EdgeoptError,
    LinkLostError,
    PluginError,
    StoppedError,
    full_disk,
    in_words,
)
from edgeopt.measure import fidelity, size
from edgeopt.measure.facts import summarise_health
from edgeopt.measure.session import MAX_LAUNCHES, MIN_LAUNCHES
from edgeopt.pipeline.evaluating import Evaluation, evaluate
from edgeopt.pipeline.operators import measure_operators
from edgeopt.pipeline.plan import Plan
from edgeopt.pipeline.timing import make_session, spreads
from edgeopt.pipeline.workspace import RUN, cannot_write
from edgeopt.report.schema import SOURCE_TARGET
from edgeopt.requirements import names, unmet
from edgeopt.source.reference import RUNNER

if TYPE_CHECKING:
    from edgeopt.devices.base import Device
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.measure.facts import Health
    from edgeopt.measure.session import Session
    from edgeopt.pipeline.entries import Entry
    from edgeopt.pipeline.exporting import Exported, Workers
    from edgeopt.pipeline.findings import Findings
    from edgeopt.pipeline.native import NativeProgram
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.pipeline.workspace import Workspace
    from edgeopt.report.schema import Run

ANSWERING = "answering the evaluation feeds"
SOURCE_REQUIRES = ("tensorflow",)
"""What the source model's own runner needs."""


@dataclass(slots=True)
class Job:
    """Exports, checks and times what a run was asked for; what comes of it goes into `found`."""

    settings: ExportSettings
    progress: Progress
    workspace: Workspace
    device: Device
    host: Device
    """This machine, where the source model answers whatever the device is; the device itself may be it."""
    found: Findings
    native: NativeProgram | None = None
    """What times the artifacts where the device has no Python."""
    _source: Future[Evaluation] = field(default_factory=Future)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def export(self, workers: Workers) -> None:
        """Export every target, let every artifact answer the evaluation feeds, and move what is sound into place."""
        plans = [entry.plan for entry in self.found.entries.values() if isinstance(entry.plan, Plan)]
        if not plans:
            return
        with ThreadPoolExecutor(1) as evaluations:
            self._source = evaluations.submit(self._evaluate_source)
            checks: list[Future[None]] = []

            def check(exported: Exported) -> None:
                checks.append(evaluations.submit(self._check, exported))

            try:
                for name, outcome in workers.export(plans, self.found.feeds.calibration, check):
                    if isinstance(outcome, EdgeoptError):
                        self.found.entries[name].error = outcome
                for future in checks:
                    future.result()
            except BaseException:
                # A Ctrl-C: end what runs on the device, so that the thread which waits for it ends too.
                self._stopping.set()
                self.device.close()
                self.host.close()
                evaluations.shutdown(wait=True, cancel_futures=True)
                raise

    def measure(self) -> None:
        """Time the source model and every artifact that has answered."""
        if self.native is not None:
            self._measure_natively(self.native)
            return
        entries = [entry for entry in self.found.entries.values() if entry.has_answered]
        if not entries or self.found.source_error is not None:
            return
        self.found.source_untimed = self._why_source_untimed()
        session = make_session(
            None if self.found.source_untimed else self.found.opened.saved_model,
            [entry for entry in entries if entry.untimed is None],
            self.found.feeds.evaluation,
            device=self.device,
            workspace=self.workspace,
            settings=self.settings,
            progress=self.progress,
        )
        artifacts = len([name for name in session.subjects if name != SOURCE_TARGET])
        what = f"{artifacts} artifact" + ("" if artifacts == 1 else "s")
        what = what if self.found.source_untimed else f"the source and {what}"
        self.progress.say(f"measuring {what} side by side, {MIN_LAUNCHES} to {MAX_LAUNCHES} launches of each")
        before = self.device.health()
        try:
            session.run()
        finally:
            self._take(session, before)

    def _measure_natively(self, native: NativeProgram) -> None:
        """Let a benchmark program time every artifact; one that it could run is moved into place."""
        self.found.source_untimed = f"{self.device.uri} has no Python"
        before = self.device.health()
        for entry in self.found.entries.values():
            if entry.exported is not None and entry.error is None:
                native.time(entry, self.settings, self.progress)
                if isinstance(entry.error, LinkLostError):  # it was waited for; the others need not wait as long again
                    raise entry.error
                if entry.native is not None:
                    self._publish_or_fail(entry, entry.exported)
        self.found.health = summarise_health(before, self.device.health(), {})

    def _why_source_untimed(self) -> str:
        """Return why the source model cannot be timed on the device; nothing when it can be."""
        missing = unmet(SOURCE_REQUIRES, self.device.versions(names(SOURCE_REQUIRES)))
        return f"{self.device.uri} has no {', '.join(missing)}, which the model needs" if missing else ""

    def measure_operators(self) -> None:
        """Ask every artifact that was timed how long its operators take."""
        measure_operators(
            self.found.entries.values(),
            self.found.feeds.evaluation,
            device=self.device,
            workspace=self.workspace,
            settings=self.settings,
            progress=self.progress,
        )

    def save(self, run: Run) -> None:
        """Write a run into `run.json`.

        Raises:
            BadInputError: It cannot be written; the disk may be full.
        """
        text = run.to_json() + "\n"
        try:
            try:
                self._write(text)
            except OSError as error:
                if full_disk(error) is None:
                    raise
                self.workspace.make_room()  # nobody needs the feeds and the outputs any more
                self._write(text)
        except OSError as error:
            raise cannot_write(self.workspace.folder, error) from error

    def _write(self, text: str) -> None:
        """Write `run.json` so that it is there whole or not at all."""
        temporary = self.workspace.scratch / RUN
        temporary.write_text(text, "utf-8")
        temporary.replace(self.workspace.folder / RUN)

    def stop(self, reason: EdgeoptError | None = None) -> None:
        """Mark what is not done, the source included.

        Args:
            reason: What ended the run; None is the user, whose Ctrl-C looks like a death of the processes.
        """
        ended = reason or StoppedError("stopped before it was done")
        found = self.found
        for entry in found.entries.values():
            if not entry.is_done and _is_open(entry.error, by_user=reason is None):
                entry.error = ended
        measured = found.source_measurement is not None and found.source_measurement.launches
        if not measured and _is_open(found.source_error, by_user=reason is None):
            found.source_error = ended

    def _take(self, session: Session, before: Health) -> None:
        """Keep what a session has found."""
        outcomes = session.outcomes()
        # First of all: a Ctrl-C may come at any moment.
        source = outcomes.get(SOURCE_TARGET)
        self.found.source_measurement, self.found.source_error = source, source.error if source else None
        for name, entry in self.found.entries.items():
            if name in outcomes:
                entry.measurement = outcomes[name]
                entry.error = entry.error or outcomes[name].error
        for name, outcome in outcomes.items():
            if session.stopped:
                self.progress.done(name, "stopped")
            else:
                self.progress.done(name, f"failed: {outcome.error.message}" if outcome.error else "measured")
        self.found.health = summarise_health(before, self.device.health(), spreads(outcomes))

    def _evaluate_source(self) -> Evaluation:
        """Return what the source model answers to the evaluation feeds."""
        self.progress.stage(SOURCE_TARGET, ANSWERING)
        try:
            saved_model = self.found.opened.saved_model
            evaluation = self._evaluate(SOURCE_TARGET, RUNNER, saved_model, saved_model, device=self.host)
            self.found.source_doubt = fidelity.silent(evaluation.outputs)
        except Exception as raised:
            error = raised if isinstance(raised, EdgeoptError) else EdgeoptError(in_words(raised))
            self.found.source_error = error
            if not self._stopping.is_set():
                self.progress.done(SOURCE_TARGET, f"failed: {error.message}")
            raise error from raised
        self.progress.done(SOURCE_TARGET, "answered")
        return evaluation

    def _evaluate(  # noqa: PLR0913 - each is a fact of its own
        self,
        name: str,
        runner: Path,
        folder: Path,
        main: Path,
        *,
        device: Device,
        environment: OwnEnvironment | None = None,
    ) -> Evaluation:
        return evaluate(
            name,
            runner,
            folder,
            main,
            self.found.feeds.evaluation,
            device=device,
            workspace=self.workspace,
            settings=self.settings,
            progress=self.progress,
            environment=environment,
        )

    def _check(self, exported: Exported) -> None:
        """Let one artifact answer, compare it with the source, and move it into place if it is sound."""
        entry = self.found.entries[exported.plan.target.name]
        try:
            entry.exported, entry.folder = exported, exported.folder
            entry.gzip_bytes = size.gzip_bytes(exported.folder)
            if self.native is None:
                self._compare(entry, exported)
                self._publish(entry, exported)
        except OSError as error:
            entry.error = cannot_write(self.workspace.folder, error)
        except EdgeoptError as error:
            entry.error = error
        except Exception as error:  # noqa: BLE001 - whatever a stranger's runner answered, it is one row
            entry.error = PluginError(f"its answer cannot be used: {in_words(error)}")
        if not self._stopping.is_set():
            what = "verified" if self.native is None else "exported"
            self.progress.done(entry.name, f"failed: {entry.error.message}" if entry.error else what)

    def _compare(self, entry: Entry, exported: Exported) -> None:
        """Compare the answers of an artifact with those of the source model.

        Raises:
            DegenerateError: The answers are nonsense, and the user has not allowed that.
        """
        plan = exported.plan
        self.progress.stage(entry.name, ANSWERING)
        evaluation = self._evaluate(
            entry.name,
            Path(plan.backend.runner),
            exported.folder,
            exported.main,
            device=self.device,
            environment=plan.environment,
        )
        entry.untimed = evaluation.untimed
        reference = self._source.result().outputs
        entry.fidelity = fidelity.compare(evaluation.outputs, reference, self.found.feeds.read_labels())
        entry.degenerate = fidelity.degenerate(evaluation.outputs, reference)
        if entry.degenerate and not self.settings.allow_degenerate:
            raise DegenerateError(entry.degenerate, hint="let it through with --allow-degenerate")

    def _publish_or_fail(self, entry: Entry, exported: Exported) -> None:
        try:
            self._publish(entry, exported)
        except OSError as error:
            entry.error = cannot_write(self.workspace.folder, error)
        except EdgeoptError as error:
            entry.error = error

    def _publish(self, entry: Entry, exported: Exported) -> None:
        """Write the manifest and move the artifact into place."""
        final = self.workspace.folder / entry.name
        artifact.write_manifest(exported.folder, self._manifest(exported), exported.files)
        artifact.publish(exported.folder, final)
        entry.folder, entry.published = final, True

    def _manifest(self, exported: Exported) -> dict[str, Any]:
        """Return what the artifact is, what it was made from, and how."""
        plan, found = exported.plan, self.found
        calibration = {"source": found.feeds.source, "sha256": found.feeds.sha256, "seed": found.feeds.seed}
        return {
            "edgeopt": artifact.edgeopt_version(),
            "made": found.started,
            "target": plan.target.name,
            "backend": plan.backend.name,
            "plugin": plan.plugin,
            "options": plan.options,
            "main": exported.main.relative_to(exported.folder).as_posix(),
            "model": {"name": found.opened.name, "format": found.opened.format, "sha256": found.shipped.sha256},
            "inputs": [asdict(spec) for spec in found.opened.inputs],
            "outputs": [asdict(spec) for spec in found.opened.outputs],
            "calibration": calibration | {"feeds": exported.calibration_feeds} if exported.calibration_feeds else None,
            "metadata": dict(exported.metadata),
            "warnings": list(exported.warnings),
        }


def _is_open(error: EdgeoptError | None, *, by_user: bool) -> bool:
    """Whether an error may give way to what ended the whole run: there is none, or it came of the user's Ctrl-C."""
    return error is None or (by_user and error.kind == "device")
