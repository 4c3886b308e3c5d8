"""Where artifacts run: this machine, and later others, all behind `Device`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.errors import UsageError

if TYPE_CHECKING:
    from edgeopt.devices.base import Device

LOCAL = "local"


def open_device(uri: str = LOCAL) -> Device:
    """Return the device at `uri`, ready to run something.

    Raises:
        UsageError: No kind of device has such an address.
        DeviceError: The device cannot be reached.
    """
    if uri == LOCAL:
        from edgeopt.devices.local import LocalDevice

        return LocalDevice()
    raise UsageError(f"no device is called {uri!r}", hint=f"known: {LOCAL}")
