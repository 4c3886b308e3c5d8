"""The steps of one run on one device that are the same however its artifacts came to be."""

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
"""The settings that decide what a sample means."""


@dataclass(slots=True, kw_only=True)
class Job:
    """Times the artifacts of a run on a device; what comes of it goes into `found`."""

    settings: ExportSettings
    progress: Progress
    workspace: Workspace
    device: Device
    found: Findings
    native: NativeProgram | None = None
    """What times the artifacts where the device has no Python."""
    saved_model: Path | None = None
    """The source model, ready to run; None where it is not at hand."""
    _session: Session | None = None
    _gone: DeviceGoneError | None = None
    """Why the device is gone for good, so that nothing waits for it a second time."""
    _stopping: threading.Event = field(default_factory=threading.Event)

    def measure(self) -> None:
        """Time every artifact that has answered, and the source model where it can run.

        Raises:
            DeviceError: The device is gone, or cannot tell how it is.
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
        """Note that nothing is timed, and tell which options have no effect then."""
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
        """Return the session that times these artifacts, and the source model where it can be."""
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
        """Return what an action on the device returns; it is done anew when the link is lost on the way."""
        return again_when_cut(self.device, action, self.progress.say)

    def _measure_natively(self, native: NativeProgram) -> None:
        """Let a benchmark program time every artifact; one that it could run is moved into place."""
        self.found.source_untimed = f"{self.device.uri} has no Python"
        before = self._when_reached(self.device.health)
        for entry in self.found.entries.values():
            if entry.exported is not None and entry.error is None:
                native.time(entry, self.settings, self.progress)
                if isinstance(entry.error, LinkLostError):  # it was waited for; the others need not wait as long again
                    raise entry.error
                if entry.native is not None:
                    self._settle(entry, entry.exported)
        self.found.health = summarise_health(before, self._health_after(before), {})

    def _why_source_untimed(self) -> str:
        """Return why the source model cannot be timed on the device; nothing when it can be."""
        versions = self._when_reached(lambda: self.device.versions(names(RUNNER_REQUIRES)))
        if missing := unmet(RUNNER_REQUIRES, versions):
            return f"{self.device.uri} has no {', '.join(missing)}, which the model needs"
        if self.saved_model is not None:
            saved_model = self.saved_model
            try:
                self._when_reached(lambda: self.device.push(saved_model))
            except DeviceGoneError:
                raise
            except EdgeoptError as error:  # a full disk, or a link too weak for it: no reason not to time what is there
                return error.message
        return ""

    def measure_operators(self) -> None:
        """Ask every artifact that was timed how long its operators take."""
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
        """Let every artifact that was timed run on, one after another."""
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
        """Return what was timed without an error."""
        return [entry for entry in self.found.entries.values() if entry.is_timed and entry.error is None]

    def save(self, run: Run) -> None:
        """Write a run into its document; see `Workspace.save`."""
        self.workspace.save(run.to_json() + "\n")

    def stop(self, reason: EdgeoptError | None = None) -> None:
        """Mark what is not done, the source included.

        Args:
            reason: What ended the run; None is the user, whose Ctrl-C looks like a death of the processes.
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
        """End what runs on the device, from another thread."""
        self._stopping.set()
        if self._session is not None:
            self._session.stop()
        self.device.close()

    def _settle(self, entry: Entry, exported: Exported) -> None:
        """Do what is left to do with an artifact that a benchmark program could run."""

    def _open_journal(self, entries: Iterable[Entry]) -> Journal:
        """Return the journal of a measurement of these artifacts."""
        settings, facts = self.settings, self.found.facts
        versions = cache(self._versions)  # artifacts of one backend ask for the same
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
        """Return which versions the device has of some distributions."""
        return self._when_reached(lambda: self.device.versions(wanted, environment))

    def _identity(
        self, entry: Entry, versions: Callable[[tuple[str, ...], OwnEnvironment | None], Mapping[str, str]]
    ) -> dict[str, Any]:
        """Return what decides how an artifact runs: its files, its runner, and the runtime that the device has."""
        if entry.exported is None:  # pragma: no cover - what has answered was exported
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
        """Keep what a session has found."""
        outcomes = session.outcomes()
        # First of all: a Ctrl-C may come at any moment.
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
        """Return the health of the device now; what it was before where its link is lost for good."""
        try:
            return self.device.health()
        except DeviceError:
            return before

    @contextmanager
    def _failing_alone(self, entry: Entry) -> Iterator[None]:
        """Let whatever goes wrong with one artifact be that artifact's error; the others go on."""
        try:
            yield
        except OSError as error:
            entry.error = cannot_write(self.workspace.folder, error)
        except DeviceGoneError as error:
            entry.error = self._gone = error
        except EdgeoptError as error:
            entry.error = error
        except Exception as error:  # noqa: BLE001 - whatever a stranger's runner answered, it is one row
            entry.error = PluginError(f"its answer cannot be used: {in_words(error)}")

    def _judge(
        self, entry: Entry, evaluation: Evaluation, reference: Mapping[str, Array], labels: Array | None
    ) -> None:
        """Compare what an artifact has answered to the evaluation feeds with what the source model answered.

        Raises:
            DegenerateError: The answers are nonsense, and the user has not allowed that.
        """
        entry.fidelity = fidelity.compare(evaluation.outputs, reference, labels)
        entry.degenerate = fidelity.degenerate(evaluation.outputs, reference)
        if entry.degenerate and not self.settings.allow_degenerate:
            raise DegenerateError(entry.degenerate, hint="let it through with --allow-degenerate")

    def _answer(self, entry: Entry, exported: Exported) -> Evaluation:
        """Return what an artifact answers to the evaluation feeds."""
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
    """Whether an error may give way to what ended the whole run: there is none, or it came of the user's Ctrl-C."""
    return error is None or (by_user and error.kind in ("device", "stopped"))
