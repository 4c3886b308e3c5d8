"""Starts the harness on a device, in a process of its own for one artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.measure import harness

if TYPE_CHECKING:
    from edgeopt.devices.base import Device
    from edgeopt.devices.channel import Channel
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.pipeline.request import ExportSettings
    from edgeopt.pipeline.workspace import Workspace


def open_harness(
    name: str, environment: OwnEnvironment | None, *, device: Device, workspace: Workspace, settings: ExportSettings
) -> Channel:
    """Return the conversation with a new harness.

    Args:
        name: Whose log gets what it prints: a target, or the source.
        environment: What it runs in; the device's own Python when None.
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
    )
