"""The steps of a run on one device that exports and profiles share."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeopt.artifact import edgeopt_version, hash_file
from edgeopt.errors import (
    DegenerateError,
    DeviceError,
    DeviceGoneError,
    EdgeoptError,
    LinkLostError,
    PluginError,
    StoppedError,
    in_words,
)
from edgeopt.measure import fidelity
from edgeopt.measure.facts import summarise_health
from edgeopt.measure.journal import Journal
from edgeopt.pipeline.evaluating import Evaluation, evaluate
from edgeopt.pipeline.harnesses import again_when_cut
from edgeopt.pipeline.operators import measure_operators
from edgeopt.pipeline.sustained import STOPPED, measure_sustained
from edgeopt.pipeline.timing import make_session, spreads
from edgeopt.pipeline.workspace import cannot_write
from edgeopt.report.schema import SOURCE_TARGET
from edgeopt.requirements import names, unmet
from edgeopt.source.choice import RUNNER_REQUIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from edgeopt.contract import Array
    from edgeopt.devices.base import Device
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.measure.facts import Health
    from edgeopt.measure.session import Session
    from edgeopt.pipeline.entries import Entry
    from edgeopt.pipeline.exporting import Exported
    from edgeopt.pipeline.findings import Findings
    from edgeopt.pipeline.native import NativeProgram
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.pipeline.workspace import Workspace
    from edgeopt.report.schema import Run

T = TypeVar("T")
ANSWERING = "answering the evaluation feeds"
NO_TIMING = "--no-timing"
JOURNALLED = ("seconds", "min_iterations", "threads", "seed")
"""The settings that determine the meaning of a sample."""


@dataclass(slots=True, kw_only=True)
class Job:
    """Times the artifacts of a run on a device; the results go into `found`."""

    settings: ExportSettings
    progress: Progress
    workspace: Workspace
    device: Device
    found: Findings
    native: NativeProgram | None = None
    """The benchmark program that times the artifacts if the device lacks Python."""
    saved_model: Path | None = None
    """The source model, ready to run; None if it is not available."""
    _session: Session | None = None
    _gone: DeviceGoneError | None = None
    """Why the device is permanently gone; kept so that nothing waits for it again."""
    _stopping: threading.Event = field(default_factory=threading.Event)

    def measure(self) -> None:
        """Time every artifact that ran on the evaluation feeds, and the source model if it can run.

        Raises:
            DeviceError: The device is gone, or cannot report its health.
        """
        if self._gone is not None:
            raise self._gone
        if self.native is not None:
            self._measure_natively(self.native)
            return
        if self._untimed:
            self._leave_untimed()
            return
        entries = [entry for entry in self.found.entries.values() if entry.answered]
        if not entries or self.found.source_error is not None:
            return
        self.found.source_untimed = self.found.source_untimed or self._why_source_untimed()
        before = self._when_reached(self.device.health)
        session = self._make_session([entry for entry in entries if entry.untimed is None], before)
        artifacts = len([name for name in session.subjects if name != SOURCE_TARGET])
        what = f"{artifacts} artifact" + ("" if artifacts == 1 else "s")
        what = what if self.found.source_untimed else f"the source and {what}"
        first, *others = session.design.looks
        launches = f"{first} to {others[-1]}" if others and len(session.subjects) > 1 else f"{first}"
        self.progress.say(f"measuring {what} side by side, {launches} launches of each")
        self._session = session
        try:
            if not self._stopping.is_set():
                session.run()
        finally:
            self._take(session, before)

    @property
    def _untimed(self) -> str:
        """Why nothing is timed: the device, or the user; empty if artifacts are timed."""
        return self.device.untimed or ("" if self.settings.timing else NO_TIMING)

    def _leave_untimed(self) -> None:
        """Record that nothing is timed, and report the options that are thus ignored."""
        self.found.untimed = self._untimed
        source = "it answered on this machine" if self.device.untimed else NO_TIMING
        self.found.source_untimed = self.found.source_untimed or source
        asked = {
            "--ops": self.settings.ops,
            "--sustained": self.settings.sustained_s is not None,
            "--resume": self.settings.resume,
        }
        if ignored := [option for option, is_asked in asked.items() if is_asked]:
            what = f"{self.device.uri} is not timed" if self.device.untimed else "nothing is timed"
            self.progress.say(f"{what}; without effect: {', '.join(ignored)}")

    def _make_session(self, timed: Iterable[Entry], before: Health) -> Session:
        """Return the session that times these artifacts, and the source model if possible."""
        journal = self._open_journal(timed)
        return self._when_reached(
            lambda: make_session(
                None if self.found.source_untimed else self.saved_model,
                timed,
                self.found.evaluation,
                device=self.device,
                workspace=self.workspace,
                settings=self.settings,
                progress=self.progress,
                journal=journal,
                free_bytes=before.available_bytes,
            )
        )

    def _when_reached(self, action: Callable[[], T]) -> T:
        """Return the result of an action on the device, repeated after a lost connection."""
        return again_when_cut(self.device, action, self.progress.say)

    def _measure_natively(self, native: NativeProgram) -> None:
        """Time every artifact with a benchmark program, and move those that ran into place."""
        self.found.source_untimed = f"{self.device.uri} has no Python"
        before = self._when_reached(self.device.health)
        for entry in self.found.entries.values():
            if entry.exported is not None and entry.error is None:
                native.time(entry, self.settings, self.progress)
                if isinstance(entry.error, LinkLostError):  # the reconnect limit has passed; do not wait again
                    raise entry.error
                if entry.native is not None:
                    self._settle(entry, entry.exported)
        self.found.health = summarise_health(before, self._health_after(before), {})

    def _why_source_untimed(self) -> str:
        """Return why the source model cannot be timed on the device; empty if it can."""
        versions = self._when_reached(lambda: self.device.versions(names(RUNNER_REQUIRES)))
        if missing := unmet(RUNNER_REQUIRES, versions):
            return f"{self.device.uri} has no {', '.join(missing)}, which the model needs"
        if self.saved_model is not None:
            saved_model = self.saved_model
            try:
                self._when_reached(lambda: self.device.push(saved_model))
            except DeviceGoneError:
                raise
            except EdgeoptError as error:  # a full disk or a weak connection: the artifacts can still be timed
                return error.message
        return ""

    def measure_operators(self) -> None:
        """Measure the operator times of every timed artifact."""
        if self._gone is not None:
            for entry in self._sound():
                entry.operators_problem = self._gone.message
            return
        measure_operators(
            self.found.entries.values(),
            self.found.evaluation,
            device=self.device,
            workspace=self.workspace,
            settings=self.settings,
            progress=self.progress,
        )

    def measure_sustained(self) -> None:
        """Run every timed artifact continuously, one after another."""
        if self._gone is not None:
            for entry in self._sound():
                entry.sustained_problem = self._gone.message
            return
        measure_sustained(
            self.found.entries.values(),
            self.found.evaluation,
            device=self.device,
            workspace=self.workspace,
            settings=self.settings,
            progress=self.progress,
            stopping=self._stopping,
        )

    def _sound(self) -> list[Entry]:
        """Return the entries that were timed without an error."""
        return [entry for entry in self.found.entries.values() if entry.is_timed and entry.error is None]

    def save(self, run: Run) -> None:
        """Write a run to its document; see `Workspace.save`."""
        self.workspace.save(run.to_json() + "\n")

    def stop(self, reason: EdgeoptError | None = None) -> None:
        """Mark incomplete entries as ended, including the source.

        Args:
            reason: The error that ended the run; None is the user's Ctrl-C, after which processes seem to have died.
        """
        ended = reason or StoppedError(STOPPED)
        found = self.found
        for entry in found.entries.values():
            if not entry.is_done and _is_open(entry.error, by_user=reason is None):
                entry.error = ended
        measured = found.source_measurement is not None and found.source_measurement.launches
        if not measured and not found.source_untimed and _is_open(found.source_error, by_user=reason is None):
            found.source_error = ended

    def cancel(self) -> None:
        """End the processes on the device; called from another thread."""
        self._stopping.set()
        if self._session is not None:
            self._session.stop()
        self.device.close()

    def _settle(self, entry: Entry, exported: Exported) -> None:
        """Finish an artifact that a benchmark program could run."""

    def _open_journal(self, entries: Iterable[Entry]) -> Journal:
        """Return the journal of a measurement of these artifacts."""
        settings, facts = self.settings, self.found.facts
        versions = cache(self._versions)  # artifacts of one backend need the same ones
        head = {
            "edgeopt": edgeopt_version(),
            "device": self.device.uri,
            "python": facts.python,
            "runtimes": dict(facts.runtimes),
            "cores": facts.details.get("cores_used", ""),
            "artifacts": {entry.name: self._identity(entry, versions) for entry in entries},
            "settings": {name: getattr(settings, name) for name in JOURNALLED},
        }
        file = self.workspace.journal(self.device.name)
        journal = Journal(file, head, resume=settings.resume)
        if settings.resume and journal.earlier is None:
            why = f"what was measured with others is kept in {journal.kept.name}" if journal.kept else "there is none"
            self.progress.say(f"nothing to resume of these artifacts and settings: {why}")
        return journal

    def _versions(self, wanted: tuple[str, ...], environment: OwnEnvironment | None) -> Mapping[str, str]:
        """Return the versions of distributions that are installed on the device."""
        return self._when_reached(lambda: self.device.versions(wanted, environment))

    def _identity(
        self, entry: Entry, versions: Callable[[tuple[str, ...], OwnEnvironment | None], Mapping[str, str]]
    ) -> dict[str, Any]:
        """Return the identity of an artifact: its files, its runner, and the runtime on the device."""
        if entry.exported is None:  # pragma: no cover - only exported artifacts are timed
            return {}
        backend, environment = entry.exported.plan.backend, entry.exported.plan.environment
        wanted = tuple(names(backend.requires))
        found = versions(wanted, environment)
        return {
            "files": entry.sha256,
            "runner": hash_file(Path(backend.runner)),
            "runtimes": {name: found.get(name) for name in wanted},
        }

    def _take(self, session: Session, before: Health) -> None:
        """Store the results of a session."""
        outcomes = session.outcomes()
        # Store these first, since Ctrl-C may come at any moment.
        source = outcomes.get(SOURCE_TARGET)
        self.found.source_measurement, self.found.source_error = source, source.error if source else None
        for name, entry in self.found.entries.items():
            if name in outcomes:
                entry.measurement = outcomes[name]
                if not outcomes[name].only_stopped:
                    entry.error = entry.error or outcomes[name].error
        self.found.design, self.found.control_problem = session.design, session.control_problem
        for name, outcome in outcomes.items():
            if session.stopped:
                self.progress.done(name, "stopped")
            else:
                self.progress.done(name, f"failed: {outcome.error.message}" if outcome.error else "measured")
        if session.lost is not None and any(outcome.error is None for outcome in outcomes.values()):
            self.progress.say(f"{session.lost.message}; what was measured by then stays")
        if isinstance(session.lost, DeviceGoneError):
            self._gone = session.lost
        self.found.health = summarise_health(before, self._health_after(before), spreads(outcomes))

    def _health_after(self, before: Health) -> Health:
        """Return the current health of the device, or `before` if it cannot be read."""
        try:
            return self.device.health()
        except DeviceError:
            return before

    @contextmanager
    def _failing_alone(self, entry: Entry) -> Iterator[None]:
        """Store any failure as this entry's error, so that the others continue."""
        try:
            yield
        except OSError as error:
            entry.error = cannot_write(self.workspace.folder, error)
        except DeviceGoneError as error:
            entry.error = self._gone = error
        except EdgeoptError as error:
            entry.error = error
        except Exception as error:  # noqa: BLE001 - any answer of a third-party runner is one row
            entry.error = PluginError(f"its answer cannot be used: {in_words(error)}")

    def _judge(
        self, entry: Entry, evaluation: Evaluation, reference: Mapping[str, Array], labels: Array | None
    ) -> None:
        """Compare an artifact's outputs for the evaluation feeds with the source model's.

        Raises:
            DegenerateError: The outputs are degenerate, and the user has not allowed that.
        """
        entry.fidelity = fidelity.compare(evaluation.outputs, reference, labels)
        entry.degenerate = fidelity.degenerate(evaluation.outputs, reference)
        if entry.degenerate and not self.settings.allow_degenerate:
            raise DegenerateError(entry.degenerate, hint="let it through with --allow-degenerate")

    def _answer(self, entry: Entry, exported: Exported) -> Evaluation:
        """Run an artifact on the evaluation feeds."""
        if self._gone is not None:
            raise self._gone
        plan = exported.plan
        self.progress.stage(entry.name, ANSWERING)
        evaluation = self._evaluate(
            entry.name,
            Path(plan.backend.runner),
            exported.folder,
            exported.main,
            device=self.device,
            requires=plan.backend.requires,
            environment=plan.environment,
        )
        entry.untimed, entry.answered = evaluation.untimed or self._untimed or None, True
        return evaluation

    def _evaluate(  # noqa: PLR0913 - each is a fact of its own
        self,
        name: str,
        runner: Path,
        folder: Path,
        main: Path,
        *,
        device: Device,
        requires: Iterable[str],
        environment: OwnEnvironment | None = None,
    ) -> Evaluation:
        return evaluate(
            name,
            runner,
            folder,
            main,
            self.found.evaluation,
            device=device,
            workspace=self.workspace,
            settings=self.settings,
            progress=self.progress,
            environment=environment,
            requires=requires,
        )


def _is_open(error: EdgeoptError | None, *, by_user: bool) -> bool:
    """Return whether the error that ended the run may replace this one: None, or a result of Ctrl-C."""
    return error is None or (by_user and error.kind in ("device", "stopped"))
