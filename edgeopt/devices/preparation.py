"""Makes a Python environment on a device, in edgeopt's work folder there, with what runners require."""

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
"""In the work folder; see `workfolder`."""
HEAVY = ("tensorflow",)
"""A runner that needs one of these is left out unless it is named: over 1 GB, which few boards want."""
INSTALL_S, DROP_S = 3600.0, 60.0
"""How long one step may take: boards have slow processors and slower disks."""
CLAIM_S = 900.0
INSTALLER = Path(installer.__file__)
ONLINE = ("--retries", "1", "--timeout", "15")
"""A device without a network must not be waited for."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is going to be done to one device."""

    entry: Entry
    provided: Mapping[str, Any]
    """What the device gives to packages; see `libraries.provided_here`."""
    folder: str
    """Where the environment will lie."""
    wanted: Mapping[str, tuple[str, ...]]
    """By backend, what its runner requires; also of those that it was prepared for before."""
    base: str = ""
    """What the book named as its Python before there was an environment."""
    left_out: tuple[str, ...] = ()
    """Backends that were not asked for, since they are large or do not work on this machine."""

    @property
    def python(self) -> str:
        """The Python there that the environment is made of, with its version."""
        return f"{one_line(self.provided['python'])} ({one_line(self.provided['executable'])})"

    @property
    def machine(self) -> str:
        """For which programs the device is, as `uname -m` has it."""
        return one_line(self.provided["machine"])


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done to one device."""

    entry: Entry
    """As it now stands in the user's book."""
    versions: Mapping[str, str]
    """What is installed of what the runners require."""
    source: str
    failed: Mapping[str, UnavailableError] = field(default_factory=dict)
    """By backend, why it cannot work there."""


def choose(backends: Iterable[str]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return what some backends require, by name, and which backends are left out.

    Args:
        backends: Their names; none stands for all that work on this machine and are not large.

    Raises:
        UsageError: There is no such backend.
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
    """Return what preparing a connected device would do.

    Raises:
        UsageError: There is no such backend.
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
    """What is written down in an environment; nothing where there is none."""

    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""

    @classmethod
    def read(cls, told: Any) -> _About:
        """Return it as the device tells it; what makes no sense is as if it were not there."""
        try:
            listed = {str(name): tuple(map(str, texts)) for name, texts in told["requirements"].items()}
            names(text for texts in listed.values() for text in texts)
            return cls(listed, str(told["base"]))
        except (TypeError, KeyError, AttributeError, ValueError):
            return cls()


def prepare(
    planned: Preparation, device: RemoteDevice, say: Callable[[str], None], *, offline: bool = False
) -> Prepared:
    """Make the environment, and let the user's book name its Python.

    Args:
        planned: What `plan` returned.
        device: The device, connected.
        say: Is told what is going on.
        offline: Whether the device's own way to a package registry is left alone.

    Raises:
        UnavailableError: No backend can work there; says why.
        DeviceError: The device does not answer, or its Python cannot make an environment.
    """
    device.claim(say, CLAIM_S)
    with TemporaryDirectory(prefix="edgeopt-prepare-") as scratch:
        return _Work(planned, device, Path(scratch), say).do(offline=offline)


class _Work:
    """One preparation while it is done."""

    def __init__(self, planned: Preparation, device: RemoteDevice, scratch: Path, say: Callable[[str], None]) -> None:
        self._planned, self._device, self._scratch, self._say = planned, device, scratch, say
        self._partial = f"{planned.folder}.partial"
        self._provided = planned.provided
        self._pip: str | None = None
        self._python = ""
        self._unneeded = [self._partial, f"{self._partial}.tmp"]

    def do(self, *, offline: bool) -> Prepared:
        """Install from the device's own registry, and from wheels of this machine where that does not work."""
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
            # Not in the conversation above, which a Ctrl-C leaves in the middle; the link may be lost, too.
            with suppress(EdgeoptError), self._open() as another:
                another.ask({"op": "drop", "folders": self._unneeded}, DROP_S)
        entry = save(replace(self._planned.entry, python=str(python)))
        return Prepared(entry, self._look(str(python), tuple(about)), source, failed)

    def _open(self) -> Channel:
        return self._device.open(INSTALLER, log=self._scratch / "log")

    def _push_pip(self) -> str | None:
        """Return where on the device a pip lies that runs from its wheel; None for the one that its Python has."""
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
        """Return where on the device a file or folder lies that goes again in the end."""
        there = self._device.push(path)
        self._unneeded.append(posixpath.dirname(there))
        return there

    def _make(self, channel: Channel) -> None:
        """Make an empty environment."""
        self._say(f"making {self._planned.folder}")
        message = {"op": "make", "folder": self._partial, "final": self._planned.folder, "pip": self._pip}
        self._python = str(_ask(channel, message)["python"])

    def _install_online(self, channel: Channel) -> bool:
        """Return whether the device could install everything by itself, and all of it can be loaded."""
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
        """Install wheels of this machine for as many backends as there are some for; return why not for the others."""
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
        """Fetch the wheels of as many backends as there are some for; return why not for the others.

        Raises:
            UnavailableError: There are none for any.
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
        """Return why there are no wheels for one backend, None where there are."""
        try:
            fetch(texts, self._provided, self._scratch / "one", self._say)
        except UnavailableError as error:
            return error
        return None

    def _misfits(self, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, UnavailableError]:
        """Return, by backend, what the environment still lacks."""
        with closing(remote_device(replace(self._planned.entry, python=self._python))) as inside:
            inside.connect()
            preflight = Preflight(inside, self._planned.entry.name)
            found = {name: preflight.misfit(texts) for name, texts in wanted.items()}
        return {name: UnavailableError(misfit.reason, hint=misfit.hint) for name, misfit in found.items() if misfit}

    def _look(self, python: str, backends: Iterable[str]) -> dict[str, str]:
        """Return the versions of what the runners require, as the finished environment has them."""
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
    """Return all requirements, each once."""
    return list(dict.fromkeys(text for texts in wanted.values() for text in texts))


def _ask(channel: Channel, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the installer answers.

    Raises:
        DeviceError: It cannot do it.
    """
    answer = channel.ask(message, INSTALL_S)
    if "error" in answer:
        said = one_line(answer["error"])
        what = "the environment cannot be made there"
        raise full_disk(said, what) or DeviceError(f"{what}: {said}")
    return answer
