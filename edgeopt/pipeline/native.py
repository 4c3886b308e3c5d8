"""Time artifacts one by one on a device without Python, with the user's benchmark program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edgeopt.devices.bare import TOO_LONG
from edgeopt.devices.remote import RemoteDevice
from edgeopt.errors import (
    BadInputError,
    DeviceError,
    EdgeoptError,
    PluginError,
    UnavailableError,
    in_words,
    last_words,
    one_line,
)
from edgeopt.pipeline.harnesses import again_when_cut, push_artifact
from edgeopt.pipeline.plan import Plan, Refusal
from edgeopt.report import schema

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeopt.contract import NativeTimes
    from edgeopt.devices.base import Device
    from edgeopt.measure.facts import Facts
    from edgeopt.pipeline.entries import Entry
    from edgeopt.pipeline.request import ExportSettings, Progress

ANY = "x"
"""A placeholder for any path."""
SIGNALLED = 128
"""A shell adds this to the number of the signal that killed a program."""


@dataclass(frozen=True, slots=True)
class NativeProgram:
    """A benchmark program for a device without Python."""

    device: RemoteDevice
    file: Path

    def refuse_unfit(self, plans: Iterable[Plan | Refusal]) -> list[Plan | Refusal]:
        """Return the plans; refuse those whose backend does not support a benchmark program."""
        return [self._fit(plan) if isinstance(plan, Plan) else plan for plan in plans]

    def time(self, entry: Entry, settings: ExportSettings, progress: Progress) -> None:
        """Store the program's times for an artifact, or the error, in its entry only."""
        progress.stage(entry.name, f"timing it with {self.file.name}")
        try:
            times = again_when_cut(self.device, lambda: self._time(entry, settings), progress.say)
            entry.native = schema.Native(program=self.file.name, threads=settings.threads, **asdict(times))
        except EdgeoptError as error:
            entry.error = error
        except Exception as error:  # noqa: BLE001 - any failure of a third-party backend is one row
            entry.error = PluginError(f"it does not keep the contract: {in_words(error)}")
        progress.done(entry.name, f"failed: {entry.error.message}" if entry.error else "measured")

    def _fit(self, plan: Plan) -> Plan | Refusal:
        if plan.backend.native_job(ANY, ANY, 1, 1.0) is not None:
            return plan
        error = UnavailableError(
            f"the backend {plan.backend.name} knows no benchmark program for a device without Python",
            hint="install Python there; edgeopt devices check NAME says what is missing",
        )
        return Refusal(plan.target, plan.plugin, error)

    def _time(self, entry: Entry, settings: ExportSettings) -> NativeTimes:
        """Return the times that the program reports for one artifact.

        Raises:
            DeviceError: The program fails, takes too long, or prints an unreadable result.
            PluginError: The backend does not return a command for this artifact.
        """
        if entry.exported is None or entry.folder is None:  # pragma: no cover - only exported artifacts are timed
            raise DeviceError("it is not there any more")
        backend = entry.exported.plan.backend
        main = push_artifact(self.device, entry.folder, entry.exported.main_in(entry.folder))
        command = backend.native_job(self.device.push(self.file), main, settings.threads, settings.seconds)
        if command is None:
            raise PluginError("its backend has no command for this artifact")
        code, output = self.device.run(command, "timing it", settings.timeout_s)
        if code == TOO_LONG:
            message = f"{self.file.name} took longer than {settings.timeout_s:g} s"
            raise DeviceError(message, hint="allow more with --timeout")
        if code:
            raise DeviceError(f"{self.file.name} {_ending(code)}", hint=last_words(output))
        try:
            return backend.read_native(output)
        except ValueError as error:
            message = f"what {self.file.name} printed cannot be read: {one_line(error)}"
            raise DeviceError(message, hint=last_words(output)) from error


def choose_native(file: Path | None, device: Device, facts: Facts, progress: Progress) -> NativeProgram | None:
    """Return the user's benchmark program if the device lacks Python, else None.

    Raises:
        BadInputError: The program is not a file.
    """
    if file is None:
        return None
    if not file.is_file():
        raise BadInputError(f"the benchmark program {file} is no file", hint="name a program built for the device")
    if facts.python or not isinstance(device, RemoteDevice):
        progress.say(f"{device.uri} has Python, so {file.name} is not used")
        return None
    return NativeProgram(device, file)


def _ending(code: int) -> str:
    """Describe how a program ended."""
    return f"was ended by signal {code - SIGNALLED}" if code > SIGNALLED else f"ended with exit code {code}"
