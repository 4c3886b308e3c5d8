"""Starts the harness on a device, in a process of its own for one artifact, and reaches the device again."""

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
"""How long to wait for a device whose link was lost: so long may it take to start anew."""
RETRY_S = 2.0
MOST_TRIES = 3
"""How often something is tried again that a lost link has cut."""


def open_harness(  # noqa: PLR0913 - each is a fact of its own
    name: str,
    environment: OwnEnvironment | None,
    requires: Iterable[str],
    *,
    device: Device,
    workspace: Workspace,
    settings: ExportSettings,
) -> Channel:
    """Return the conversation with a new harness.

    Args:
        name: Whose log gets what it prints: a target, or the source.
        environment: What it runs in; the device's own Python when None.
        requires: What its runner will import.
        device: Where it runs.
        workspace: Where its log goes.
        settings: The limits that it keeps.

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
    """Make an artifact readable on a device, with all that lies beside its main file; return that file's path there."""
    return posixpath.join(device.push(folder), main.relative_to(folder).as_posix())


def elsewhere(device: Device) -> str:
    """Return the address of a device that is another machine than this one; nothing for this one."""
    return "" if device.uri == LOCAL else device.uri


def reconnect(device: Device, tell: Callable[[str], None], wait_s: float = RECONNECT_S) -> None:
    """Reach a device again whose link was lost; it may be starting anew.

    Args:
        device: The device.
        tell: Is told that this waits.
        wait_s: How long to try.

    Raises:
        DeviceGoneError: It does not come back, refuses us now, or was let go of by `Device.close` meanwhile.
    """
    tell(f"the link to {device.uri} was lost; reaching it again")
    until = time.monotonic() + wait_s
    while True:
        try:
            return device.connect()
        except DeviceError as error:  # noqa: PERF203 - it waits much longer than that costs
            if not isinstance(error, LinkLostError) or time.monotonic() > until:
                message = f"{device.uri} did not come back: {error.message}"
                raise DeviceGoneError(message, hint=error.hint) from error
            time.sleep(RETRY_S)


def again_when_cut(device: Device, action: Callable[[], T], tell: Callable[[str], None], tries: int = MOST_TRIES) -> T:
    """Return what `action` returns; it is done anew, so often, when the link is lost on the way.

    Raises:
        DeviceGoneError: The device does not come back.
        LinkLostError: The link is lost again and again.
    """
    try:
        return action()
    except LinkLostError as error:
        if tries == 1 or isinstance(error, DeviceGoneError):
            raise
        reconnect(device, tell)
    return again_when_cut(device, action, tell, tries - 1)
