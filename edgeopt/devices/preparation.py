"""Creates a Python environment with the requirements of runners in edgeopt's work folder on a device."""

from __future__ import annotations

import os
import posixpath
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgeopt.devices import installer, remote_device
from edgeopt.devices.book import save
from edgeopt.devices.preflight import Preflight, complete
from edgeopt.devices.wheels import fetch, fetch_pip, meaning
from edgeopt.errors import DeviceError, EdgeoptError, UnavailableError, UsageError, did_you_mean, full_disk, one_line
from edgeopt.registry import find_backends
from edgeopt.requirements import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgeopt.devices.book import Entry
    from edgeopt.devices.channel import Channel
    from edgeopt.devices.remote import RemoteDevice

FOLDER = "python"
"""Name in the work folder; see `workfolder`."""
HEAVY = ("tensorflow",)
"""A backend whose runner needs one of these must be named: over 1 GB, too much for most boards."""
INSTALL_S, DROP_S = 3600.0, 60.0
"""Time limits for one step: boards have slow processors and slower disks."""
CLAIM_S = 900.0
INSTALLER = Path(installer.__file__)
ONLINE = ("--retries", "1", "--timeout", "15")
"""pip options that keep the wait short on a device without a network."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The plan for preparing one device."""

    entry: Entry
    provided: Mapping[str, Any]
    """The device's platform, as packages see it; see `libraries.provided_here`."""
    folder: str
    """Path of the future environment on the device."""
    wanted: Mapping[str, tuple[str, ...]]
    """By backend, its runner's requirements, including backends that were prepared before."""
    base: str = ""
    """The device's Python in the user's book before the environment existed."""
    left_out: tuple[str, ...] = ()
    """Backends left out by default: large, or not working on this machine."""

    @property
    def python(self) -> str:
        """Version and path of the device's Python that the environment is based on."""
        return f"{one_line(self.provided['python'])} ({one_line(self.provided['executable'])})"

    @property
    def machine(self) -> str:
        """The device's machine type, as in `uname -m`."""
        return one_line(self.provided["machine"])


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result of preparing one device."""

    entry: Entry
    """The device's new entry in the user's book."""
    versions: Mapping[str, str]
    """Installed versions of the required distributions."""
    source: str
    failed: Mapping[str, UnavailableError] = field(default_factory=dict)
    """By backend, the reason why it cannot work there."""


def choose(backends: Iterable[str]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the requirements of backends, by name, and the backends left out by default.

    Args:
        backends: Their names; empty for all that work on this machine and are not large.

    Raises:
        UsageError: A backend does not exist, or none was found.
    """
    known, asked = find_backends().backends, list(backends)
    for name in asked:
        if name not in known:
            raise UsageError(f"no backend is called {name!r}", hint=did_you_mean(name, known))
    small = [
        name
        for name, found in known.items()
        if found.why_not() is None and not set(names(found.backend.requires)) & set(HEAVY)
    ]
    chosen = asked or small
    if not chosen:
        raise UsageError("there is no backend to prepare a device for", hint="name one: --backend NAME")
    wanted = {name: tuple(complete(known[name].backend.requires)) for name in chosen}
    return wanted, tuple(name for name in known if name not in chosen and not asked)


def plan(entry: Entry, device: RemoteDevice, backends: Iterable[str]) -> Preparation:
    """Return the plan for preparing a connected device.

    Raises:
        UsageError: A backend does not exist, or none was found.
        DeviceError: The device does not answer.
    """
    wanted, left_out = choose(backends)
    given, folder = device.provided(), posixpath.join(device.folder, FOLDER)
    with closing(device.open(INSTALLER, log=Path(os.devnull))) as channel:
        about = _About.read(_ask(channel, {"op": "about", "final": folder})["about"])
    base = about.base if PurePosixPath(entry.python).is_relative_to(folder) else entry.python
    wanted = {**about.requirements, **wanted}
    left_out = tuple(name for name in left_out if name not in wanted)
    return Preparation(entry, given, folder, dict(sorted(wanted.items())), base, left_out)


@dataclass(frozen=True, slots=True)
class _About:
    """Metadata stored in an environment; empty if it does not exist."""

    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""

    @classmethod
    def read(cls, told: Any) -> _About:
        """Return the metadata in a device's answer; empty if it is invalid."""
        try:
            listed = {str(name): tuple(map(str, texts)) for name, texts in told["requirements"].items()}
            names(text for texts in listed.values() for text in texts)
            return cls(listed, str(told["base"]))
        except (TypeError, KeyError, AttributeError, ValueError):
            return cls()


def prepare(
    planned: Preparation, device: RemoteDevice, say: Callable[[str], None], *, offline: bool = False
) -> Prepared:
    """Create the environment and save its Python in the user's book.

    Args:
        planned: The result of `plan`.
        device: The device, connected.
        say: Receives progress messages.
        offline: Whether to skip the package registry that the device itself can reach.

    Raises:
        UnavailableError: No backend can work there; the message gives the reasons.
        DeviceError: The device does not answer, or its Python cannot make an environment.
    """
    device.claim(say, CLAIM_S)
    with TemporaryDirectory(prefix="edgeopt-prepare-") as scratch:
        return _Work(planned, device, Path(scratch), say).do(offline=offline)


class _Work:
    """One preparation in progress."""

    def __init__(self, planned: Preparation, device: RemoteDevice, scratch: Path, say: Callable[[str], None]) -> None:
        self._planned, self._device, self._scratch, self._say = planned, device, scratch, say
        self._partial = f"{planned.folder}.partial"
        self._provided = planned.provided
        self._pip: str | None = None
        self._python = ""
        self._unneeded = [self._partial, f"{self._partial}.tmp"]

    def do(self, *, offline: bool) -> Prepared:
        """Install from the device's own registry or, if that fails, from wheels of this machine."""
        try:
            with self._open() as channel:
                self._pip = self._push_pip()
                source, failed = "its own package registry", {}
                if offline or not self._install_online(channel):
                    source, failed = "wheels that were fetched here", self._install_wheels(channel)
                about = {name: list(texts) for name, texts in self._planned.wanted.items() if name not in failed}
                told = {"requirements": about, "base": self._planned.base}
                python = _ask(channel, {"op": "finish", "about": told})["python"]
        finally:
            # A new channel: Ctrl-C may leave the one above waiting for an answer. The link may be lost, too.
            with suppress(EdgeoptError), self._open() as another:
                another.ask({"op": "drop", "folders": self._unneeded}, DROP_S)
        entry = save(replace(self._planned.entry, python=str(python)))
        return Prepared(entry, self._look(str(python), tuple(about)), source, failed)

    def _open(self) -> Channel:
        return self._device.open(INSTALLER, log=self._scratch / "log")

    def _push_pip(self) -> str | None:
        """Return the path of a pip wheel on the device; None to use the pip of its Python."""
        try:
            return self._push(fetch_pip(self._provided["python"], self._scratch / "pip"))
        except UnavailableError as error:
            if self._provided["venv"]:
                return None
            raise UnavailableError(
                f"the device has no pip, and this machine cannot fetch it: {error.message}",
                hint="install Python's modules venv and ensurepip there; Debian: sudo apt-get install python3-venv",
            ) from error

    def _push(self, path: Path) -> str:
        """Push a file or folder, to be removed in the end; return its path on the device."""
        there = self._device.push(path)
        self._unneeded.append(posixpath.dirname(there))
        return there

    def _make(self, channel: Channel) -> None:
        """Make an empty environment."""
        self._say(f"making {self._planned.folder}")
        message = {"op": "make", "folder": self._partial, "final": self._planned.folder, "pip": self._pip}
        self._python = str(_ask(channel, message)["python"])

    def _install_online(self, channel: Channel) -> bool:
        """Return whether the device could install everything itself, and all of it loads."""
        self._make(channel)
        wanted = _texts(self._planned.wanted)
        self._say(f"installing {', '.join(wanted)}")
        answer = _ask(channel, {"op": "install", "arguments": [*ONLINE, *wanted]})
        if not answer["ok"]:
            self._say(f"the device cannot install it by itself: {meaning(str(answer['said']))}")
            return False
        misfits = self._misfits(self._planned.wanted)
        for error in misfits.values():
            self._say(error.message)
        return not misfits

    def _install_wheels(self, channel: Channel) -> dict[str, UnavailableError]:
        """Install wheels from this machine for every backend that has some; return the others' errors."""
        wheels = self._scratch / "wheels"
        failed = self._fetch(wheels)
        self._make(channel)
        there = self._push(wheels)
        self._say("installing the wheels")
        files = [posixpath.join(there, wheel.name) for wheel in sorted(wheels.iterdir())]
        answer = _ask(channel, {"op": "install", "arguments": ["--no-index", "--no-deps", *files]})
        if not answer["ok"]:
            raise DeviceError(f"{self._device.uri}: the wheels cannot be installed: {meaning(str(answer['said']))}")
        failed |= self._misfits({name: texts for name, texts in self._planned.wanted.items() if name not in failed})
        if len(failed) == len(self._planned.wanted):
            raise _together(failed)
        return failed

    def _fetch(self, wheels: Path) -> dict[str, UnavailableError]:
        """Fetch the wheels of every backend that has some; return the others' errors.

        Raises:
            UnavailableError: No backend has wheels for the device.
        """
        self._say("fetching wheels for the device")
        try:
            fetch(_texts(self._planned.wanted), self._provided, wheels, self._say)
        except UnavailableError as error:
            if len(self._planned.wanted) == 1:
                raise
            self._say(f"{error.message}; looking at each backend alone")
        else:
            return {}
        refused = {name: self._refusal(texts) for name, texts in self._planned.wanted.items()}
        failed = {name: error for name, error in refused.items() if error is not None}
        good = {name: texts for name, texts in self._planned.wanted.items() if name not in failed}
        if not good:
            raise _together(failed)
        fetch(_texts(good), self._provided, wheels, self._say)
        return failed

    def _refusal(self, texts: Iterable[str]) -> UnavailableError | None:
        """Return the error if one backend does not have wheels for the device, else None."""
        try:
            fetch(texts, self._provided, self._scratch / "one", self._say)
        except UnavailableError as error:
            return error
        return None

    def _misfits(self, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, UnavailableError]:
        """Return, by backend, the misfits of the new environment, as errors."""
        with closing(remote_device(replace(self._planned.entry, python=self._python))) as inside:
            inside.connect()
            preflight = Preflight(inside, self._planned.entry.name)
            found = {name: preflight.misfit(texts) for name, texts in wanted.items()}
        return {name: UnavailableError(misfit.reason, hint=misfit.hint) for name, misfit in found.items() if misfit}

    def _look(self, python: str, backends: Iterable[str]) -> dict[str, str]:
        """Return the versions of the required distributions in the finished environment."""
        wanted = names(_texts({name: self._planned.wanted[name] for name in backends}))
        with closing(remote_device(replace(self._planned.entry, python=python))) as inside:
            inside.connect()
            return dict(inside.versions(wanted))


def _together(failed: Mapping[str, UnavailableError]) -> UnavailableError:
    """Return one error for several backends, none of which can work on a device."""
    hints = dict.fromkeys(error.hint for error in failed.values() if error.hint)
    return UnavailableError(
        "; ".join(f"{name}: {error.message}" for name, error in failed.items()), hint="; ".join(hints)
    )


def _texts(wanted: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return all requirements without duplicates."""
    return list(dict.fromkeys(text for texts in wanted.values() for text in texts))


def _ask(channel: Channel, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the installer's answer.

    Raises:
        DeviceError: The installer reports an error.
    """
    answer = channel.ask(message, INSTALL_S)
    if "error" in answer:
        said = one_line(answer["error"])
        what = "the environment cannot be made there"
        raise full_disk(said, what) or DeviceError(f"{what}: {said}")
    return answer
