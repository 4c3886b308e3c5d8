"""Checks a device against a runner's requirements before any part of an artifact is sent."""

from __future__ import annotations

import math
import shlex
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgeopt.devices import elf
from edgeopt.devices.remote import RemoteDevice
from edgeopt.errors import one_line
from edgeopt.requirements import names, unmet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeopt.devices.base import Device
    from edgeopt.isolation import OwnEnvironment

LEAST_BYTES = 64 << 20
"""Approximate memory of Python, NumPy and a small runtime without a model."""
HARNESS = ("numpy>=1.23",)
"""Requirements of the harness on every device."""
SYSTEMS = (
    ("Debian 11", {"GLIBC": "2.31", "GLIBCXX": "3.4.28", "CXXABI": "1.3.12", "GCC": "7.0.0"}),
    ("Debian 12", {"GLIBC": "2.36", "GLIBCXX": "3.4.30", "CXXABI": "1.3.13", "GCC": "12.0.0"}),
    ("Debian 13", {"GLIBC": "2.41", "GLIBCXX": "3.4.33", "CXXABI": "1.3.15", "GCC": "14.0.0"}),
)
"""Versions that the C and C++ libraries of well-known systems define, oldest first; Raspberry Pi OS equals Debian."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """The reason why a runner cannot work on a device, and a remedy."""

    reason: str
    hint: str
    missing: bool = False
    """Whether installing packages is all that is needed."""


class Preflight:
    """Findings about one device, which is asked once for all runners.

    Args:
        device: A connected device. On this machine, only versions are checked, not edgeopt's own installation.
        name: The user's present or future name for it; the device's own name if empty.
    """

    def __init__(self, device: Device, name: str = "") -> None:
        self._device = device
        called = name or ("NAME" if "://" in device.name else device.name)  # only a named device can be prepared
        self._prepare = f"edgeopt devices prepare {called}"
        self._checked: dict[str, dict[str, Any]] = {}
        self._found: dict[tuple[tuple[str, ...], OwnEnvironment | None], Misfit | None] = {}

    def misfit(self, requires: Sequence[str], environment: OwnEnvironment | None = None) -> Misfit | None:
        """Return the reason why a runner cannot work there, or None if none was found.

        Args:
            requires: Its requirements, in pip syntax.
            environment: Its own environment on this machine, if any.

        Raises:
            DeviceError: The device does not answer.
        """
        asked = (tuple(requires), environment)  # several targets may share a backend
        if asked not in self._found:
            self._found[asked] = self._look(requires, environment)
        return self._found[asked]

    def _look(self, requires: Sequence[str], environment: OwnEnvironment | None) -> Misfit | None:
        """Return the reason why a runner cannot work there, or None if none was found."""
        if isinstance(self._device, RemoteDevice):
            requires = complete(requires)
        wanted = names(requires)
        found = self._device.versions(wanted, environment)
        if missing := unmet(requires, found):
            return self._not_there(missing, found)
        if not isinstance(self._device, RemoteDevice):
            return None
        return self._not_loading(wanted) or self.little_memory(0)

    @cached_property
    def provided(self) -> dict[str, Any]:
        """The platform of a remote device, as packages see it; empty for any other device."""
        return self._device.provided() if isinstance(self._device, RemoteDevice) else {}

    @cached_property
    def free_bytes(self) -> int | None:
        """Memory available to a process on a remote device; None if unknown."""
        return self._device.free_bytes() if isinstance(self._device, RemoteDevice) else None

    def _not_there(self, missing: Sequence[str], found: Mapping[str, str]) -> Misfit:
        """Return the misfit for distributions that are missing or have another version."""
        listed = [
            f"{text} ({found[name]} is there)" if (name := names([text])[0]) in found else text for text in missing
        ]
        command = f"pip install {' '.join(map(shlex.quote, missing))}"
        ours = f"{self._prepare}, or " if isinstance(self._device, RemoteDevice) else ""
        reason = f"the device {self._device.uri} does not have {', '.join(listed)}, which its runner needs"
        return Misfit(reason, f"install it there: {ours}{command}", missing=True)

    def _not_loading(self, wanted: Iterable[str]) -> Misfit | None:
        """Return the misfit for an installed distribution that does not load."""
        new = [name for name in wanted if name not in self._checked]
        if new and isinstance(self._device, RemoteDevice):
            self._checked.update(self._device.check(new))
        for name in wanted:
            if entries := self._checked.get(name, {}).get("unmet"):
                what = f"{name} {one_line(self._checked[name].get('version'))} on the device {self._device.uri}"
                return Misfit(f"{what} does not load: {lacks(entries)}", self._helps(entries))
        return None

    def _helps(self, entries: Sequence[Mapping[str, str]]) -> str:
        """Return a hint for distributions that do not load."""
        newer = newer_system(entries)
        if not newer:
            return f"install it there anew, for this Python: {self._prepare}"
        return f"{newer}; to look for an older version that fits: {self._prepare}"

    def little_memory(self, size_bytes: int) -> Misfit | None:
        """Return a misfit if free memory is too small for the runtime plus the artifact, else None.

        Raises:
            DeviceError: The device does not answer.
        """
        needed = LEAST_BYTES + size_bytes
        if self.free_bytes is None or self.free_bytes >= needed:
            return None
        what = "a runtime with this file" if size_bytes else "a runtime"
        free = f"the device {self._device.uri} has {self.free_bytes / 2**20:.0f} MiB of memory free"
        return Misfit(f"{free}, and {what} needs {math.ceil(needed / 2**20)} MiB", "end other processes there")


def complete(requires: Iterable[str]) -> list[str]:
    """Return a runner's requirements together with those of the harness."""
    listed = list(requires)
    known = names(listed)
    return [*listed, *(text for text in HARNESS if names([text])[0] not in known)]


def lacks(entries: Sequence[Mapping[str, str]]) -> str:
    """Describe the findings of `libraries.unmet` or `libraries.check` in words."""
    told = []
    for entry in entries:
        file, family, wanted, has = (one_line(entry.get(key, "")) for key in ("file", "family", "wanted", "has"))
        name = file.rpartition("/")[2]
        if family == "file":
            told.append(f"{name}: {has}")
        elif family == "python":
            told.append(f"it was built for Python {wanted}, and this is {has}")
        elif family == "machine":
            told.append(f"{name} was built for {wanted}, and this is {has}")
        else:
            told.append(f"{name} needs {family} {wanted}, and the system has {has or 'none'}")
    return "; ".join(told)


def newer_system(entries: Sequence[Mapping[str, str]]) -> str:
    """Return a hint at a system with the missing versions; empty if a newer system would not help."""
    versions = {entry["family"]: entry["wanted"] for entry in entries if entry.get("family") in elf.FAMILIES}
    if not versions:
        return ""
    system = fitting_system(versions)
    return f"{system} or newer has what it needs" if system else "a newer system may have what it needs"


def fitting_system(wanted: Mapping[str, str]) -> str:
    """Return the oldest well-known system that defines these versions; empty if none does."""
    with suppress(ValueError):  # a device may report anything
        for system, given in SYSTEMS:
            if all(elf.numbers(given[family]) >= elf.numbers(version) for family, version in wanted.items()):
                return system
    return ""
