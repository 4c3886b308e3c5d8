"""The job of an export: make, check and publish an artifact for every target before timing."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edgeopt import artifact
from edgeopt.errors import EdgeoptError, in_words
from edgeopt.measure import fidelity, size
from edgeopt.pipeline.job import ANSWERING, Job
from edgeopt.pipeline.needs import unmet_needs
from edgeopt.pipeline.plan import Plan
from edgeopt.pipeline.reference import save_reference
from edgeopt.pipeline.workspace import cannot_write
from edgeopt.report.schema import SOURCE_TARGET
from edgeopt.source.choice import RUNNER, RUNNER_REQUIRES

if TYPE_CHECKING:
    from edgeopt.data import FeedSet
    from edgeopt.devices.base import Device
    from edgeopt.pipeline.entries import Entry
    from edgeopt.pipeline.evaluating import Evaluation
    from edgeopt.pipeline.exporting import Exported, OpenedModel, Workers

ANSWERING_AT_ONCE = 2
"""Number of untimed processes that run on the evaluation feeds at once on this machine."""


@dataclass(slots=True, kw_only=True)
class ExportJob(Job):
    """Exports, checks and times the artifacts of a run."""

    host: Device
    """This machine, which always runs the workers and the source model; may be the same as `device`."""
    opened: OpenedModel
    feeds: FeedSet
    _source: Future[Evaluation] = field(default_factory=Future)

    def export(self, workers: Workers) -> None:
        """Export every target, verify it on the evaluation feeds, and move sound artifacts into place."""
        plans = [entry.plan for entry in self.found.entries.values() if isinstance(entry.plan, Plan)]
        if not plans:
            return
        # The memory of a board may be too small for more than one.
        at_once = ANSWERING_AT_ONCE if self.device is self.host else 1
        with ThreadPoolExecutor(at_once) as evaluations:
            self._source = evaluations.submit(self._evaluate_source)
            checks: list[Future[None]] = []

            def check(exported: Exported) -> None:
                checks.append(evaluations.submit(self._check, exported))

            try:
                for name, outcome in workers.export(plans, self.feeds.calibration, check):
                    if isinstance(outcome, EdgeoptError):
                        self.found.entries[name].error = outcome
                for future in checks:
                    future.result()
                self._keep_reference()
            except BaseException:
                # On Ctrl-C, end the processes on the device, so that the threads waiting for them end too.
                self.cancel()
                self.host.close()
                evaluations.shutdown(wait=True, cancel_futures=True)
                raise

    def _evaluate_source(self) -> Evaluation:
        """Run the source model on the evaluation feeds."""
        self.progress.stage(SOURCE_TARGET, ANSWERING)
        try:
            saved_model = self.opened.saved_model
            evaluation = self._evaluate(
                SOURCE_TARGET, RUNNER, saved_model, saved_model, device=self.host, requires=RUNNER_REQUIRES
            )
            if doubt := fidelity.silent(evaluation.outputs):
                self.found.source_doubts.append(doubt)
        except Exception as raised:
            error = raised if isinstance(raised, EdgeoptError) else EdgeoptError(in_words(raised))
            self.found.source_error = error
            if not self._stopping.is_set():
                self.progress.done(SOURCE_TARGET, f"failed: {error.message}")
            raise error from raised
        self.progress.done(SOURCE_TARGET, "answered")
        return evaluation

    def _keep_reference(self) -> None:
        """Save the source model's outputs, so that a profile can measure fidelity without the model."""
        if self.found.source_error is None:
            outputs = self._source.result().outputs
            try:
                save_reference(self.workspace, self.feeds, outputs, self.found.model.sha256)
            except OSError as error:
                problem = cannot_write(self.workspace.folder, error).message
                self.found.source_doubts.append(f"a later profile cannot tell fidelity: {problem}")

    def _check(self, exported: Exported) -> None:
        """Run one artifact, compare it with the source, and move it into place if it is sound."""
        entry = self.found.entries[exported.plan.target.name]
        with self._failing_alone(entry):
            entry.exported, entry.folder = exported, exported.folder
            entry.gzip_bytes = size.gzip_bytes(exported.folder)
            if unmet := unmet_needs(self.found.facts, entry.name, exported.needs, exported.fallback):
                unmet.hint = f"it was not kept; {unmet.hint}"
                raise unmet
            if self.native is None:
                evaluation = self._answer(entry, exported)
                self._judge(entry, evaluation, self._source.result().outputs, self.feeds.read_labels())
                self._publish(entry, exported)
        if not self._stopping.is_set():
            what = "verified" if self.native is None else "exported"
            self.progress.done(entry.name, f"failed: {entry.error.message}" if entry.error else what)

    def _settle(self, entry: Entry, exported: Exported) -> None:
        """Move an artifact that a benchmark program could run into place."""
        with self._failing_alone(entry):
            self._publish(entry, exported)

    def _publish(self, entry: Entry, exported: Exported) -> None:
        """Write the manifest and move the artifact into place."""
        final = self.workspace.folder / entry.name
        artifact.write_manifest(exported.folder, self._manifest(exported), exported.files)
        artifact.publish(exported.folder, final)
        entry.folder, entry.published = final, True

    def _manifest(self, exported: Exported) -> dict[str, Any]:
        """Return the manifest: the artifact's identity, origin and options."""
        plan, feeds = exported.plan, self.feeds
        calibration = {"source": feeds.source, "sha256": feeds.sha256, "seed": feeds.seed}
        return {
            "edgeopt": artifact.edgeopt_version(),
            "made": self.found.started,
            "target": plan.target.name,
            "backend": plan.backend.name,
            "plugin": plan.plugin,
            "options": plan.options,
            "main": exported.main.relative_to(exported.folder).as_posix(),
            "model": {"name": self.opened.name, "format": self.opened.format, "sha256": self.found.model.sha256},
            "inputs": [asdict(spec) for spec in self.opened.inputs],
            "outputs": [asdict(spec) for spec in self.opened.outputs],
            "calibration": calibration | {"feeds": exported.calibration_feeds} if exported.calibration_feeds else None,
            "metadata": dict(exported.metadata),
            "warnings": list(exported.warnings),
            "needs": None if exported.needs is None else list(exported.needs),
            "fallback": exported.fallback,
        }
