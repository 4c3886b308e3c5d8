"""Where artifacts run: this machine, a machine behind ssh, a phone behind adb, all behind `Device`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeopt.errors import UsageError

if TYPE_CHECKING:
    from edgeopt.devices.base import Device
    from edgeopt.devices.link import Transport

LOCAL = "local"
FORMS = "local, ssh://user@host:port, adb://serial"
_SSH = re.compile(r"ssh://(?:(?P<user>[^@/]+)@)?(?P<host>\[[^\]/]+\]|[^:/@\[\]]+)(?::(?P<port>\d{1,5}))?/?")
_ADB = re.compile(r"adb://(?P<serial>[^/]*)/?")


def open_device(uri: str = LOCAL) -> Device:
    """Return the device at `uri`, ready to run something.

    Raises:
        UsageError: No kind of device has such an address.
        DeviceError: The device cannot be reached.
    """
    if uri == LOCAL:
        from edgeopt.devices.local import LocalDevice

        return LocalDevice()
    from edgeopt.devices.remote import RemoteDevice

    device = RemoteDevice(_transport(uri))
    try:
        device.connect()
    except BaseException:
        device.close()
        raise
    return device


def _transport(uri: str) -> Transport:
    """Return the way to a device that is not this machine.

    Raises:
        UsageError: No kind of device has such an address.
    """
    if match := _SSH.fullmatch(uri):
        from edgeopt.devices.ssh import SshTransport

        port = int(match["port"]) if match["port"] else None
        return SshTransport(match["host"].strip("[]"), user=match["user"] or "", port=port)
    if match := _ADB.fullmatch(uri):
        from edgeopt.devices.adb import AdbTransport, only_serial

        return AdbTransport(match["serial"] or only_serial())
    raise UsageError(f"no device is called {uri!r}", hint=f"known: {FORMS}")
