"""Devices: this machine, an emulated processor, ssh and adb devices, all behind `Device`."""

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
    """Return a connected device.

    Args:
        name: `local`, a name that the user or the project defines, or an address.

    Raises:
        UsageError: No device has that name.
        BadInputError: Its entry is unusable.
        DeviceError: The device cannot be reached.
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
        UsageError: The address has an unknown form.
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
    """Return whether a device, by name or address, runs on this machine, so that others here would disturb it."""
    if name == LOCAL or name.startswith(SCHEME):
        return True
    try:
        return find_entry(name).uri.startswith(SCHEME)
    except EdgeoptError:  # reported when it is opened
        return False


def remote_device(entry: Entry) -> RemoteDevice:
    """Return the remote device that an entry describes, not connected yet.

    Raises:
        UsageError: The address has an unknown form.
        DeviceError: The address is invalid, or the key does not exist.
    """
    from edgeopt.devices.remote import PYTHON, RemoteDevice

    cores = parse_cores(entry.cores) if entry.cores else ()
    return RemoteDevice(transport_to(entry), python=entry.python or PYTHON, cores=cores, name=entry.name)


def transport_to(entry: Entry) -> Transport:
    """Return the transport to the device that an entry describes; see `remote_device`."""
    key = Path(entry.key).expanduser() if entry.key else None
    if key is not None and not key.is_file():
        raise DeviceError(f"the key {key} of {entry.name or entry.uri} is not there", hint="name another: --key FILE")
    return _transport(entry.uri, key=key, jump=entry.jump, workdir=entry.workdir)


def _transport(uri: str, *, key: Path | None = None, jump: str = "", workdir: str = "") -> Transport:
    """Return the transport to a remote device.

    Raises:
        UsageError: The address has an unknown form.
        DeviceError: The address is invalid.
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
