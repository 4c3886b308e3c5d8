"""Where artifacts run: this machine, an emulated processor, ssh and adb devices, all behind `Device`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.devices.book import FORMS, LOCAL, SCHEME, Entry, find_entry, parse_cores
from edgeopt.errors import DeviceError, EdgeoptError, UsageError

if TYPE_CHECKING:
    from edgeopt.devices.base import Device
    from edgeopt.devices.link import Transport
    from edgeopt.devices.remote import RemoteDevice

_SSH = re.compile(r"ssh://(?:(?P<user>[^@/]+)@)?(?P<host>\[[^\]/]+\]|[^:/@\[\]]+)(?::(?P<port>\d{1,5}))?/?")
_ADB = re.compile(r"adb://(?P<serial>[^/]*)/?")


def open_device(name: str = LOCAL) -> Device:
    """Return a device, ready to run something.

    Args:
        name: `local`, a name from the user's book or the project's, or an address.

    Raises:
        UsageError: No device is called so.
        BadInputError: What is written down of it cannot be used.
        DeviceError: It cannot be reached.
    """
    device = find_device(name)
    try:
        device.connect()
    except BaseException:
        device.close()
        raise
    return device


def find_device(name: str) -> Device:
    """Return a device that is not connected yet; see `open_device`."""
    return device_of(Entry(LOCAL, uri=LOCAL) if name == LOCAL else find_entry(name))


def device_of(entry: Entry) -> Device:
    """Return the device that an entry describes, not connected yet.

    Raises:
        UsageError: No kind of device has such an address.
        DeviceError: The address is not valid, or the key does not exist.
    """
    if entry.uri == LOCAL:
        from edgeopt.devices.local import LocalDevice

        return LocalDevice()
    if entry.uri.startswith(SCHEME):
        from edgeopt.devices.emulated import EmulatedDevice

        return EmulatedDevice(entry.uri.removeprefix(SCHEME).rstrip("/"), entry.name)
    return remote_device(entry)


def is_here(name: str) -> bool:
    """Whether a device, by its name or address, computes on this machine, so that others here would disturb it."""
    if name == LOCAL or name.startswith(SCHEME):
        return True
    try:
        return find_entry(name).uri.startswith(SCHEME)
    except EdgeoptError:  # whoever opens it reports that
        return False


def remote_device(entry: Entry) -> RemoteDevice:
    """Return the device that an entry tells of, not connected yet.

    Raises:
        UsageError: No kind of device has such an address.
        DeviceError: The address is none, or the key is not there.
    """
    from edgeopt.devices.remote import PYTHON, RemoteDevice

    cores = parse_cores(entry.cores) if entry.cores else ()
    return RemoteDevice(transport_to(entry), python=entry.python or PYTHON, cores=cores, name=entry.name)


def transport_to(entry: Entry) -> Transport:
    """Return the way to the device that an entry tells of; see `remote_device`."""
    key = Path(entry.key).expanduser() if entry.key else None
    if key is not None and not key.is_file():
        raise DeviceError(f"the key {key} of {entry.name or entry.uri} is not there", hint="name another: --key FILE")
    return _transport(entry.uri, key=key, jump=entry.jump, workdir=entry.workdir)


def _transport(uri: str, *, key: Path | None = None, jump: str = "", workdir: str = "") -> Transport:
    """Return the way to a device that is not this machine.

    Raises:
        UsageError: No kind of device has such an address.
        DeviceError: The address is none.
    """
    if match := _SSH.fullmatch(uri):
        from edgeopt.devices.ssh import SshTransport

        port = int(match["port"]) if match["port"] else None
        host, user = match["host"].strip("[]"), match["user"] or ""
        return SshTransport(host, user=user, port=port, key=key, jump=jump, workdir=workdir)
    if match := _ADB.fullmatch(uri):
        from edgeopt.devices.adb import AdbTransport, only_serial

        return AdbTransport(match["serial"] or only_serial(), workdir=workdir)
    raise UsageError(f"no device is called {uri!r}", hint=f"known: {FORMS}")
