"""One backend's exports of the kit's models, each made at most once, and the artifacts loaded from them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.artifact import check_files
from edgeopt.devices.base import thread_environment
from edgeopt.devices.channel import Channel
from edgeopt.devices.local import LocalDevice
from edgeopt.errors import EdgeoptError, PluginError, UsageError
from edgeopt.measure import harness
from edgeopt.options import describe, fill
from edgeopt.pipeline.exporting import Workers
from edgeopt.pipeline.plan import Plan
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.pipeline.workspace import Workspace
from edgeopt.requirements import names, unmet
from edgeopt.targets import Target
from edgeopt.testing import bare
from edgeopt.testing.machine import PLAIN, children_at_home, machine
from edgeopt.testing.rig import Rig
from edgeopt.testing.stock import AGAIN, Stocked, stocked
from edgeopt.testing.watching import Snapshot
from edgeopt.watch import OUTSIDE, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeopt.contract import Array, Backend
    from edgeopt.pipeline.exporting import Exported
    from edgeopt.registry import RegisteredBackend


@dataclass(frozen=True, slots=True)
class Attempt:
    """Outcome of one export: either `exported` or `error` is set, never both."""

    exported: Exported | None
    error: EdgeoptError | None
    log: Path
    written_outside: tuple[str, ...] = ()

    @property
    def is_mislisted(self) -> bool:
        """Whether the backend exported, but its list of files is wrong."""
        trace = self.error.__traceback__ if self.error else None
        while trace is not None:
            if trace.tb_frame.f_code is check_files.__code__:
                return True
            trace = trace.tb_next
        return False

    @property
    def has_strayed(self) -> bool:
        """Whether the backend exported, but the host detected a write outside its folder."""
        return isinstance(self.error, PluginError) and self.error.message.startswith(OUTSIDE)


@dataclass(slots=True)
class Lab:
    """Exports and runs the kit's models with one backend.

    Args:
        registered: The backend and its plugin.
        options: Values for its options, as in a target file.
        timeout_s: Maximum time of one export, or of one response of its runner, in seconds.
    """

    registered: RegisteredBackend
    options: Mapping[str, Any]
    timeout_s: float
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="edgeopt-check-")))
    _attempts: dict[tuple[str, str], Attempt] = field(default_factory=dict)
    _answers: dict[str, dict[str, Array] | EdgeoptError] = field(default_factory=dict)
    _rigs: int = 0
    _live: tuple[str, Rig] | None = None
    """The artifact used last, kept because loading one may take seconds."""

    @property
    def backend(self) -> type[Backend]:
        """The backend's class."""
        return self.registered.backend

    def why_not(self) -> str | None:
        """Return why nothing can be exported or run here, or None."""
        reason = self.registered.why_not()
        if reason is not None:
            return reason
        own = self.registered.environment
        versions = own.versions() if own else LocalDevice().versions(names(self.backend.requires))
        missing = unmet(self.backend.requires, versions)
        return f"its runner requires {', '.join(missing)}, which is not installed here" if missing else None

    def export(self, model: str, place: str = PLAIN) -> Attempt:
        """Export a model of the kit in its own worker process; repeated calls return the same attempt.

        Use `ODD` only for the demo: everything is rebuilt there, including the normalised model, as in another run.
        """
        if (model, place) not in self._attempts:
            self._attempts[model, place] = self._export(stocked(model), model, place)
        return self._attempts[model, place]

    def open(self, model: str, *, place: str = PLAIN, threads: int = 1, alone: bool = False) -> Rig:
        """Load an artifact in a new process; the runner is copied to an otherwise empty folder.

        Args:
            model: The model of the kit; its export must have succeeded.
            place: The export to load: `PLAIN` or `ODD`.
            threads: Maximum number of threads of the runner.
            alone: Whether to use a bare environment.

        Raises:
            RunnerError: The artifact does not load.
        """
        rig, runner, artifact = self._unloaded(model, place, threads, alone=alone)
        try:
            rig.load(runner, artifact, threads)
        except BaseException:
            rig.channel.close()
            raise
        return rig

    def operators(self, model: str, seconds: float) -> Any:
        """Return an artifact's operators as the runner file reports them, or None if it does not report any.

        Raises:
            RunnerError: The runner raises, or its process dies.
        """
        rig, runner, artifact = self._unloaded(model, PLAIN, 1, alone=False)
        with rig:
            return rig.operators(runner, artifact, 1, stocked(model).few, seconds)

    def _unloaded(self, model: str, place: str, threads: int, *, alone: bool) -> tuple[Rig, Path, Path]:
        """Return a new process with nothing loaded yet, and the paths of its runner and artifact."""
        exported = self.export(model, place).exported
        if exported is None:
            raise UsageError(f"{model} was not exported")
        self._rigs += 1
        ground = self.root / place / f"device-{self._rigs}"
        (ground / "runner").mkdir(parents=True)
        runner = Path(shutil.copy(self.backend.runner, ground / "runner"))
        shutil.copytree(exported.folder, ground / "artifact")
        log = ground / "log"
        channel = self._bare_channel(log, threads) if alone else self._channel(log, threads)
        artifact = ground / "artifact" / exported.main.relative_to(exported.folder)
        return Rig(channel, ground / "outputs", self.timeout_s), runner, artifact

    def rig(self, model: str) -> Rig:
        """Return a loaded artifact that the checks share, one model at a time; its export must have succeeded.

        Raises:
            RunnerError: The artifact does not load.
        """
        if self._live is None or self._live[0] != model or self._live[1].channel.closed:
            self._end_rig()
            self._live = (model, self.open(model))
        return self._live[1]

    def answers(self, model: str) -> dict[str, Array]:
        """Return an artifact's outputs for all evaluation feeds; its export must have succeeded.

        Raises:
            RunnerError: The artifact does not load or run.
        """
        if model not in self._answers:
            try:
                self._answers[model] = self.rig(model).answers(stocked(model).evaluation)
            except EdgeoptError as error:
                self._answers[model] = error
        found = self._answers[model]
        if isinstance(found, EdgeoptError):
            raise found
        return found

    def close(self) -> None:
        """Stop the running process, and remove all files."""
        self._end_rig()
        shutil.rmtree(self.root, ignore_errors=True)

    def _end_rig(self) -> None:
        if self._live is not None:
            self._live[1].channel.close()
            self._live = None

    def _export(self, model: Stocked, name: str, place: str) -> Attempt:
        workspace = Workspace.create(self.root / place, name)
        (workspace.scratch / "source").symlink_to((model if place == PLAIN else stocked(AGAIN)).source)
        settings = ExportSettings(timeout_s=self.timeout_s, jobs=1)
        elsewhere = self.root / place / f"elsewhere-{name}"
        plan = Plan(Target(name, "", self.backend.name), self.registered, self._options())
        before: Snapshot | None = None
        with (
            _watched_process(elsewhere),
            closing(Workers(model.choice, workspace, settings, Silence(), machine(place))) as workers,
        ):
            if place == PLAIN:
                before = Snapshot.take(self._watched(model, workspace, elsewhere))
            ((_, outcome),) = workers.export([plan], model.calibration, lambda _: None)
        allowed = [workspace.scratch / "exports" / name, *(workspace.scratch / part for part in SHARED)]
        changes = before.changes(exempt=allowed) if before else ()
        log = workspace.log(name)
        if isinstance(outcome, EdgeoptError):
            return Attempt(None, outcome, log, changes)
        return Attempt(outcome, None, log, changes)

    def _options(self) -> dict[str, Any]:
        filled = fill(self.backend.Options, self.options, origin="options")
        return {option.name: getattr(filled, option.name) for option in describe(self.backend.Options)}

    def _watched(self, model: Stocked, workspace: Workspace, elsewhere: Path) -> list[Path]:
        """Return the places that an export must not change."""
        top = sys.modules[self.backend.__module__.partition(".")[0]]
        plugin = [Path(place) for place in getattr(top, "__path__", [top.__file__])]
        return [Path(model.choice.path), model.source, model.calibration, workspace.scratch, elsewhere, *plugin]

    def _channel(self, log: Path, threads: int) -> Channel:
        environment = self.registered.environment
        return machine(PLAIN).open(
            Path(harness.__file__),
            log=log,
            threads=threads,
            environment=environment,
            requires=self.backend.requires,
        )

    def _bare_channel(self, log: Path, threads: int) -> Channel:
        own, script = self.registered.environment, Path(harness.__file__)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        # A backend's own environment holds only its requirements; isolated, it cannot import edgeopt either.
        if own:
            argv = [str(own.python), "-I", str(script)]
        else:
            bare.make_bare(log.with_name("packages"), self.backend.requires)
            argv = bare.command(sys.executable, log.with_name("packages"), script)
        return Channel(argv, log=log, env={**kept, **thread_environment(threads)})


@contextmanager
def _watched_process(folder: Path) -> Iterator[None]:
    """Give child processes started in this context a home and a current folder in `folder`."""
    (folder / "home").mkdir(parents=True)
    (folder / "current").mkdir()
    here = Path.cwd()
    os.chdir(folder / "current")
    try:
        with children_at_home(folder / "home"):
            yield
    finally:
        os.chdir(here)
