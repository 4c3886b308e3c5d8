"""Named devices: the user's own, one small file each, and those that a project defines for its team.

Their values become ssh arguments and shell words, and a project may be untrusted. So each value is checked when it is
read: `SshTransport` rejects invalid hosts and jumps, paths are passed as one word, and the Python of a project must
have the file name of one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, EdgeoptError, UsageError, did_you_mean
from edgeopt.source.project import read_project, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCAL = "local"
FORMS = "local, ssh://user@host:port, adb://serial, qemu://PROCESSOR"
SCHEME = "qemu://"
"""Prefix of the address of an emulated processor."""
CONFIG_VARIABLE = "EDGEOPT_CONFIG"
"""Environment variable: the folder for user settings, instead of the system's default."""
FOLDER, SUFFIX = "devices", ".toml"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PYTHON = re.compile(r"(python|pypy)\d*(\.\d+)?")
CORES = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
MOST_CORES = 1024
LONGEST = 1000
KEYS = ("uri", "key", "jump", "python", "workdir", "cores")
ONLY_SSH = ("key", "jump")


@dataclass(frozen=True, slots=True)
class Entry:
    """One configured device; unset values are empty."""

    name: str
    """Empty if the address itself was given."""
    uri: str = ""
    key: str = ""
    """File of a private key on this machine."""
    jump: str = ""
    """Jump host, as for `ssh -J`."""
    python: str = ""
    """The Python on the device."""
    workdir: str = ""
    """The folder for edgeopt's files there, absolute."""
    cores: str = ""
    """In the format of `parse_cores`."""
    file: Path | None = None
    """The file that defines it."""
    is_own: bool = False
    """Whether it belongs to the user, not to the project."""
    problem: EdgeoptError | None = None
    """Reason why it is unusable; then only `name`, `file` and `is_own` are set."""

    @property
    def settings(self) -> dict[str, str]:
        """The set values, by key."""
        return {key: value for key in KEYS if (value := getattr(self, key))}


def find_entries(project: Path | None = None) -> dict[str, Entry]:
    """Return all named devices, by name; the user's own take precedence over the project's.

    An unusable device is an entry with a problem: the others must stay usable.

    Args:
        project: The folder whose `edgeopt.toml` is read, by default the current one.

    Raises:
        BadInputError: The project's file cannot be read.
    """
    own = {entry.name: entry for entry in _own()}
    shared = {entry.name: entry for entry in _shared(project or Path.cwd())}
    return dict(sorted({**shared, **own}.items()))


def find_entry(name: str, project: Path | None = None) -> Entry:
    """Return the device for a name or an address.

    Raises:
        UsageError: No device has that name.
        BadInputError: Its entry is unusable, or the project's file cannot be read.
    """
    if "://" in name:
        return Entry("", uri=name)
    found = _own_entry(name) or find_entries(project).get(name)
    if found is None:
        known = [LOCAL, *find_entries(project)]
        hint = did_you_mean(name, known)
        more = "" if hint.startswith("did you mean") else "; add one: edgeopt devices add NAME ssh://user@host"
        raise UsageError(f"no device is called {name!r}", hint=hint + more)
    if found.problem is not None:
        raise found.problem
    return found


def make_entry(name: str, values: Mapping[str, Any], file: Path | None = None, *, is_own: bool = True) -> Entry:
    """Return a checked entry.

    Args:
        name: Name of the device.
        values: Its settings, by key.
        file: The file that defines it; a relative path of a private key starts at its folder.
        is_own: Whether it belongs to the user; the checks are stricter for a project's.

    Raises:
        BadInputError: The name or a value is invalid, or a key is unknown.
    """
    where = f"{file}: device {name!r}" if file else f"device {name!r}"
    if not NAME.fullmatch(name) or name == LOCAL:
        hint = "letters, digits and -_. make a name, and the first is a letter or a digit"
        raise BadInputError(
            f"{where}: it cannot be called so", hint=f"{LOCAL} is this machine" * (name == LOCAL) or hint
        )
    for key, value in values.items():
        if key not in KEYS:
            message = f"{where}: unknown key {key!r}; valid are {', '.join(KEYS)}"
            raise BadInputError(message, hint=did_you_mean(key, KEYS, listed=True))
        if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST:
            raise BadInputError(f"{where}: {key} must be a text in one line", hint=f"for instance {_EXAMPLES[key]}")
    entry = Entry(name, **values, file=file, is_own=is_own)
    for problem, hint in _problems(entry):
        raise BadInputError(f"{where}: {problem}", hint=hint)
    if entry.key and file and not entry.key.startswith("~"):
        entry = replace(entry, key=str(file.parent / entry.key))
    return entry


def parse_cores(text: str) -> tuple[int, ...]:
    """Return the cores that a text such as `4-7` or `0,2` names, in ascending order.

    Raises:
        BadInputError: The text is not a list of cores.
    """
    cores: set[int] = set()
    for part in text.split(","):
        match = CORES.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < MOST_CORES:
            raise BadInputError(
                f"cores {text!r}: {part.strip()!r} names no cores", hint="for instance 4-7, or 0,2; the first one is 0"
            )
        cores.update(range(first, last + 1))
    return tuple(sorted(cores))


def save(entry: Entry) -> Entry:
    """Write an entry to the user's own book, replacing one of the same name, and return the saved entry.

    Raises:
        BadInputError: The file cannot be written.
    """
    file = own_file(entry.name)
    # The JSON form of a printable text is also a basic string of TOML.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in entry.settings.items()]
    scratch = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, prefix=".", suffix=".tmp", delete=False
        ) as written:
            scratch = Path(written.name)
            written.write("".join(lines))
        scratch.replace(file)
    except OSError as error:
        raise BadInputError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
    return replace(entry, file=file, is_own=True)


def remove(name: str) -> Entry:
    """Remove an entry from the user's own book and return it.

    Raises:
        UsageError: No device has that name, or only the project defines it.
        BadInputError: The file cannot be removed.
    """
    entry = _own_entry(name) or find_entries().get(name)
    if entry is None:
        raise UsageError(f"no device is called {name!r}", hint=did_you_mean(name, find_entries()))
    if not entry.is_own or entry.file is None:
        raise UsageError(f"{name} is a device of the project", hint=f"take it out of {entry.file}")
    try:
        entry.file.unlink()
    except OSError as error:
        raise BadInputError(f"{entry.file} cannot be removed: {error.strerror}") from error
    return entry


def forget_python(entry: Entry, folder: str, before: str) -> None:
    """Restore the previous Python in the user's own entry if the current one was in a deleted folder.

    Raises:
        BadInputError: The entry cannot be written.
    """
    if entry.is_own and PurePosixPath(entry.python).is_relative_to(folder):
        save(make_entry(entry.name, {**entry.settings, "python": before}, entry.file))


def own_file(name: str) -> Path:
    """Return the file that holds the user's own entry of that name."""
    return config_folder() / FOLDER / f"{name}{SUFFIX}"


def config_folder() -> Path:
    """Return the folder for user settings: `EDGEOPT_CONFIG`, else the system's default."""
    from platformdirs import user_config_path

    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else user_config_path("edgeopt")


_EXAMPLES = {
    "uri": 'uri = "ssh://pi@raspberrypi"',
    "key": 'key = "~/.ssh/board"',
    "jump": 'jump = "me@gateway"',
    "python": 'python = "/usr/bin/python3.11"',
    "workdir": 'workdir = "/home/pi/edgeopt"',
    "cores": 'cores = "4-7"',
}


def _own_entry(name: str) -> Entry | None:
    """Return the user's own entry of a name, without reading the project."""
    file = own_file(name) if NAME.fullmatch(name) else None
    return _guarded(name, file) if file is not None and file.is_file() else None


def _own() -> Iterator[Entry]:
    """Yield the user's own entries."""
    with suppress(OSError):
        for file in sorted((config_folder() / FOLDER).glob(f"[!.]*{SUFFIX}")):
            yield _guarded(file.name.removesuffix(SUFFIX), file)


def _shared(folder: Path) -> Iterator[Entry]:
    """Yield the entries of the project in a folder."""
    project = read_project(folder)
    file = folder / ("edgeopt.toml" if project.origin == "edgeopt.toml" else "pyproject.toml")
    for name, table in project.devices.items():
        yield _guarded(name, file, table if isinstance(table, dict) else {"uri": table}, is_own=False)


def _guarded(name: str, file: Path, table: Mapping[str, Any] | None = None, *, is_own: bool = True) -> Entry:
    """Return an entry, with a problem if it is unusable."""
    try:
        return make_entry(name, read_toml(file) if table is None else table, file, is_own=is_own)
    except BadInputError as error:
        return Entry(name, file=file, is_own=is_own, problem=error)


def _problems(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield each problem with the values of an entry, and a hint."""
    if "://" not in entry.uri:
        yield f"{entry.uri!r} is no address" if entry.uri else "it has no uri", f"known: {FORMS}"
    if not entry.uri.startswith("ssh://"):
        yield from ((f"{key} is for ssh only", "leave it out") for key in ONLY_SSH if getattr(entry, key))
    if entry.uri.startswith(SCHEME):
        others = (key for key in KEYS[1:] if key not in ONLY_SSH and getattr(entry, key))
        yield from ((f"{key} is for ssh and adb only", "leave it out") for key in others)
    if entry.workdir and not PurePosixPath(entry.workdir).is_absolute():
        yield f"workdir {entry.workdir!r} is no absolute path", f"for instance {_EXAMPLES['workdir']}"
    if entry.python.startswith("-"):
        yield f"{entry.python!r} is no Python", f"for instance {_EXAMPLES['python']}"
    # The project may be untrusted, and the user's key may open more than a test board.
    if not entry.is_own and entry.python and not PYTHON.fullmatch(PurePosixPath(entry.python).name):
        hint = "a project may name a file called python3 or the like; add a device of your own for any other"
        yield f"{entry.python!r} is not called like a Python", hint
    if entry.cores:
        try:
            parse_cores(entry.cores)
        except BadInputError as error:
            yield error.message, error.hint
