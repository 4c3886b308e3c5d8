"""Export the planned targets in reusable worker processes; a dead worker is replaced."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.artifact import HashedFile, check_files, refuse_foreign
from edgeopt.contract import TensorSpec
from edgeopt.devices.channel import Channel, ChannelClosed, ChannelGarbled, ChannelTimeout
from edgeopt.devices.local import default_limit_bytes
from edgeopt.errors import KINDS, EdgeoptError, ExportError, PluginError, in_words
from edgeopt.measure.facts import cores_allowed, memory_bytes
from edgeopt.pipeline.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from edgeopt.devices.local import LocalDevice
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.pipeline.plan import Plan
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.pipeline.workspace import Workspace
    from edgeopt.source.choice import SourceChoice

IMPORT = "import TensorFlow"
WORKER_BYTES = 4 << 30
"""Estimated memory of one worker; limits the number of workers at once, but never stops one."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """The source model as reported by a worker."""

    name: str
    format: str
    path: Path
    saved_model: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, tuple[float, float]]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """A complete artifact, still in the scratch folder."""

    plan: Plan
    folder: Path
    main: Path
    files: tuple[HashedFile, ...]
    metadata: Mapping[str, Any]
    warnings: tuple[str, ...]
    calibration_feeds: int
    export_s: float | None = None
    """None for an artifact from an earlier run."""
    needs: tuple[str, ...] | None = ()
    """As in `Artifact.needs`; None if its plugin cannot declare them."""
    fallback: str = ""

    def main_in(self, folder: Path) -> Path:
        """Return the path that the runner opens if the artifact is in `folder`."""
        return folder / self.main.relative_to(self.folder)


@dataclass(slots=True)
class Workers:
    """The worker processes of one run.

    Args:
        choice: The source model as named by the user.
        workspace: The destination of artifacts and logs.
        settings: Time and memory limits, and the number of workers at once.
        progress: Receives progress messages.
        host: This machine, on which they run.
        cpu_features: As in `ExportRequest.cpu_features`.
    """

    choice: SourceChoice
    workspace: Workspace
    settings: ExportSettings
    progress: Progress
    host: LocalDevice
    cpu_features: tuple[str, ...] = ()
    _free: dict[OwnEnvironment | None, queue.SimpleQueue[Channel]] = field(
        default_factory=lambda: defaultdict(queue.SimpleQueue)
    )
    """Idle workers by their environment; None is edgeopt's own."""
    _open: set[Channel] = field(default_factory=set)
    _durations: Durations = field(default_factory=Durations)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def open_model(self) -> OpenedModel:
        """Start the first worker, which opens and normalises the source model.

        Raises:
            BadInputError: The model is unusable.
            DeviceError: The worker cannot be started.
            ExportError: The worker died or took too long.
            PluginError: The worker's answer is garbled.
        """
        log, name = self.workspace.log("model"), self.choice.name
        self.progress.stage("model", f"importing TensorFlow{self._durations.about(IMPORT)}")
        with self._durations.measure(IMPORT):
            channel = self._launch(log, None)
        opening = f"open {self.choice.path}"
        self.progress.stage("model", f"opening {name}{self._durations.about(opening)}")
        with self._durations.measure(opening):
            answer = self._let_open(channel, log, None)
        self.progress.done("model", f"opened {name}")
        self._free[None].put(channel)
        return OpenedModel(
            name=answer["name"],
            format=answer["format"],
            path=Path(answer["path"]),
            saved_model=Path(answer["saved_model"]),
            inputs=_specs(answer["inputs"]),
            outputs=_specs(answer["outputs"]),
            ranges={name: (low, high) for name, (low, high) in answer["ranges"].items()},
            warnings=tuple(answer["warnings"]),
        )

    def export(
        self, plans: Iterable[Plan], calibration: Path, then: Callable[[Exported], Any]
    ) -> Iterator[tuple[str, Exported | EdgeoptError]]:
        """Export every plan; yield each target's name and outcome as soon as it is known.

        Args:
            plans: The plans to export.
            calibration: The folder of calibration feeds.
            then: Called with each artifact as soon as it is complete, in its worker's thread.
        """
        plans = list(plans)
        with ThreadPoolExecutor(self._jobs(len(plans))) as pool:
            futures: dict[str, Future[Exported]] = {
                plan.target.name: pool.submit(self._export_one, plan, calibration, then) for plan in plans
            }
            try:
                names = {future: name for name, future in futures.items()}
                for future in as_completed(names):
                    yield names[future], _outcome(future)
            except BaseException:
                self.close()  # on Ctrl-C, end the children first, so that the threads waiting for them end too
                raise

    def close(self) -> None:
        """End all workers and prevent further exports."""
        self._stopped.set()
        for channel in list(self._open):
            channel.close()
        self._open.clear()

    def _jobs(self, plans: int) -> int:
        """Return the number of workers at once: as requested, else limited by cores and memory."""
        if self.settings.jobs is not None:
            return max(1, min(self.settings.jobs, plans))
        # A converter keeps about two cores busy, and each additional worker must open the model again.
        return max(1, min(cores_allowed() // 2, memory_bytes() // WORKER_BYTES, plans))

    def _export_one(self, plan: Plan, calibration: Path, then: Callable[[Exported], Any]) -> Exported:
        name = plan.target.name
        log, step = self.workspace.log(name), f"export {self.choice.path} for {name}"
        self.progress.stage(name, f"exporting{self._durations.about(step)}")
        try:
            refuse_foreign(self.workspace.folder / name)
            exported = self._ask_worker(plan, calibration, self.workspace.start_log(name))
        except Exception as raised:
            error = _as_error(raised)
            error.log = error.log or (str(log) if log.is_file() else "")
            self.workspace.discard(name)  # immediately: it may have filled the disk that other exports need
            self.progress.done(name, f"failed: {error.message}")
            raise error from raised
        self._durations.keep(step, exported.export_s or 0.0)
        self.progress.done(name, f"exported in {exported.export_s:.1f} s")
        then(exported)
        return exported

    def _ask_worker(self, plan: Plan, calibration: Path, log: Path) -> Exported:
        name = plan.target.name
        folder = self.workspace.staged(name)
        message = {
            "op": "export",
            "target": name,
            "module": plan.registered.plugin.module,
            "backend": plan.backend.name,
            "options": plan.options,
            "out_dir": str(folder),
            "calibration": str(calibration),
            "cpu_features": self.cpu_features,
            "log": str(log),
        }
        channel = self._take(log, plan.environment)
        channel.log_path = log
        begin = time.monotonic()
        try:
            answer = channel.ask(
                message, self.settings.timeout_s, lambda event: self.progress.stage(name, event["text"])
            )
        except (ChannelClosed, ChannelTimeout) as error:
            self._drop(channel)
            raise _why_it_died(error, self.settings, time.monotonic() - begin) from error
        self._free[plan.environment].put(channel)
        if "error" in answer:
            raise _rebuild(answer["error"])
        main, files = Path(answer["main"]), [Path(file) for file in answer["files"]]
        return Exported(
            plan=plan,
            folder=folder,
            files=tuple(check_files(folder, main, files)),
            main=folder / main.resolve().relative_to(folder.resolve()),
            metadata=answer["metadata"],
            warnings=tuple(answer["warnings"]),
            calibration_feeds=answer["calibration_feeds"],
            export_s=answer["export_s"],
            needs=tuple(answer["needs"]) if answer["needs"] or plan.registered.plugin.declares_needs else None,
            fallback=answer["fallback"],
        )

    def _take(self, log: Path, environment: OwnEnvironment | None) -> Channel:
        """Return an idle worker, or a new one that has opened the model."""
        try:
            return self._free[environment].get_nowait()
        except queue.Empty:
            channel = self._launch(log, environment)
            self._let_open(channel, log, environment)
            return channel

    def _launch(self, log: Path, environment: OwnEnvironment | None) -> Channel:
        """Start a worker; if it is forked, wait for the import of TensorFlow."""
        if self._stopped.is_set():
            raise ExportError("the run was stopped")
        run = ["-m", "edgeopt.worker"]
        # An export does not need a GPU, and TensorFlow would claim all of its memory.
        # A user's file with the name of a library must not be imported instead of it.
        ours = {
            "TF_CPP_MIN_LOG_LEVEL": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONSAFEPATH": "1",
            "TMPDIR": str(self.workspace.temporary),
        }
        variables = {**(environment.variables if environment else os.environ), **ours}
        limit_bytes = self.settings.memory_limit_bytes or default_limit_bytes()
        channel: Channel
        if environment is None:
            channel = self.host.fork(run, log=log, env=variables, memory_limit_bytes=limit_bytes)
        else:
            argv = [str(environment.python), *run]
            channel = Channel(argv, log=log, env=variables, memory_limit_bytes=limit_bytes)
        self._open.add(channel)
        if self._stopped.is_set():  # `close` may have run in between and missed this worker
            channel.close()
        return channel

    def _let_open(self, channel: Channel, log: Path, environment: OwnEnvironment | None) -> dict[str, Any]:
        """Make a worker open the model, and return its answer."""
        message = {
            "op": "open",
            "choice": self.choice.to_dict(),
            "workspace": str(self.workspace.scratch),
            "log": str(log),
        }
        if environment is not None:
            message["host_python"] = sys.executable
        begin = time.monotonic()
        try:
            answer = channel.ask(message, self.settings.timeout_s)
        except (ChannelClosed, ChannelTimeout) as error:
            self._drop(channel)
            raise _why_it_died(error, self.settings, time.monotonic() - begin) from error
        if "error" in answer:
            self._drop(channel)
            raise _rebuild(answer["error"], log=str(log))
        return answer

    def _drop(self, channel: Channel) -> None:
        channel.close()
        self._open.discard(channel)


def _specs(items: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"]) for item in items)


def _outcome(future: Future[Exported]) -> Exported | EdgeoptError:
    """Return the result of one export, or its error, which must not stop the other targets."""
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - any result of a third-party backend is one row
        return _as_error(error)


def _as_error(error: Exception) -> EdgeoptError:
    """Return an `EdgeoptError` unchanged; any other exception from an answer is the backend's fault."""
    if isinstance(error, EdgeoptError):
        return error
    return PluginError(f"what the backend gave back cannot be used: {in_words(error)}")


def _rebuild(described: Mapping[str, str], *, log: str = "") -> EdgeoptError:
    """Rebuild the error described by a worker, with its original class."""
    kind = KINDS.get(described["kind"], ExportError)
    return kind(described["message"], hint=described["hint"], log=log)


def _why_it_died(error: EdgeoptError, settings: ExportSettings, seconds: float) -> EdgeoptError:
    """Return the error for a worker that died or was killed."""
    if isinstance(error, ChannelTimeout):
        return ExportError(
            f"gave no answer within {settings.timeout_s:g} s and was ended", hint="allow more time with --timeout"
        )
    kind = PluginError if isinstance(error, ChannelGarbled) else ExportError
    return kind(f"its process ended after {seconds:.1f} s: {error.message}", hint=error.hint)
