"""Start a harness process per artifact on a device, and reconnect to the device."""

from __future__ import annotations

import posixpath
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgeopt.devices.book import LOCAL
from edgeopt.errors import DeviceError, DeviceGoneError, LinkLostError
from edgeopt.measure import harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeopt.devices.base import Device
    from edgeopt.devices.channel import Channel
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.pipeline.request import ExportSettings
    from edgeopt.pipeline.workspace import Workspace

T = TypeVar("T")
RECONNECT_S = 180.0
"""Reconnect limit after a lost connection; long enough for the device to reboot."""
RETRY_S = 2.0
MOST_TRIES = 3
"""Maximum number of attempts at an action that lost connections interrupt."""


def open_harness(  # noqa: PLR0913 - each is a fact of its own
    name: str,
    environment: OwnEnvironment | None,
    requires: Iterable[str],
    *,
    device: Device,
    workspace: Workspace,
    settings: ExportSettings,
) -> Channel:
    """Start a harness and return its channel.

    Args:
        name: Target (or `source`) whose log receives the output.
        environment: Its Python environment; None is the device's own Python.
        requires: Requirements of its runner.
        device: The device that runs it.
        workspace: The workspace that holds its log.
        settings: Its number of threads and its memory limit.

    Raises:
        DeviceError: It cannot be started.
    """
    return device.open(
        Path(harness.__file__),
        log=workspace.log(name),
        threads=settings.threads,
        memory_limit_bytes=settings.memory_limit_bytes,
        environment=environment,
        requires=requires,
    )


def push_artifact(device: Device, folder: Path, main: Path) -> str:
    """Push an artifact's whole folder to a device; return the path of its main file there."""
    return posixpath.join(device.push(folder), main.relative_to(folder).as_posix())


def elsewhere(device: Device) -> str:
    """Return the address of a device; empty for `local`."""
    return "" if device.uri == LOCAL else device.uri


def reconnect(device: Device, tell: Callable[[str], None], wait_s: float = RECONNECT_S) -> None:
    """Reconnect to a device after a lost connection; it may be rebooting.

    Args:
        device: The device.
        tell: Called with a message about the wait.
        wait_s: The reconnect limit.

    Raises:
        DeviceGoneError: It did not come back, now refuses the connection, or was closed by `Device.close` meanwhile.
    """
    tell(f"the link to {device.uri} was lost; reaching it again")
    until = time.monotonic() + wait_s
    while True:
        try:
            return device.connect()
        except DeviceError as error:  # noqa: PERF203 - negligible beside the wait
            if not isinstance(error, LinkLostError) or time.monotonic() > until:
                message = f"{device.uri} did not come back: {error.message}"
                raise DeviceGoneError(message, hint=error.hint) from error
            time.sleep(RETRY_S)


def again_when_cut(device: Device, action: Callable[[], T], tell: Callable[[str], None], tries: int = MOST_TRIES) -> T:
    """Return the result of `action`, repeated after a lost connection; at most `tries` attempts.

    Raises:
        DeviceGoneError: The device did not come back.
        LinkLostError: The connection was lost in every attempt.
    """
    try:
        return action()
    except LinkLostError as error:
        if tries == 1 or isinstance(error, DeviceGoneError):
            raise
        reconnect(device, tell)
    return again_when_cut(device, action, tell, tries - 1)
