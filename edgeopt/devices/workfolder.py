"""edgeopt's work folder on a device: its contents and its removal.

Only files that edgeopt itself created are ever removed. Their names follow rules; if any name does not, nothing is
removed: a user may have chosen a folder that holds other files too.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeopt.devices.installer import COMPLETE
from edgeopt.devices.link import CommandError, Link
from edgeopt.devices.preparation import FOLDER
from edgeopt.devices.remote import JOBS, LOCK
from edgeopt.devices.store import FILES
from edgeopt.errors import DeviceError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeopt.devices.link import Transport

REMOVE_S = 600.0
ENVIRONMENTS = (FOLDER, f"{FOLDER}.partial", f"{FOLDER}.partial.tmp", f"{FOLDER}.old")
OURS = (FILES, JOBS, LOCK, *ENVIRONMENTS)
INSIDE = {
    FILES: re.compile(r"[0-9a-f]{64}(\.\d+)?(\.tar)?"),
    JOBS: re.compile(r"[0-9a-f]{32}-.*", re.DOTALL),
    FOLDER: re.compile(re.escape(COMPLETE)),
}
"""By folder, the pattern of the names that edgeopt creates in it."""


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Contents of the work folder of a device; `path` is empty if it does not exist."""

    path: str = ""
    size_bytes: int = 0
    names: tuple[str, ...] = ()
    """Paths in it, up to two levels deep."""
    strange: tuple[str, ...] = field(default=())
    """Those that edgeopt did not create."""
    holder: str = ""
    """Owner of the measurement that is running on the device, if any."""
    base: str = ""
    """The device's Python in the user's book before the environment existed."""

    def count(self, folder: str) -> int:
        """Return the number of entries in one of its folders."""
        return sum(name.startswith(f"{folder}/") for name in self.names)


def look(transport: Transport) -> WorkFolder:
    """Return the contents of a device's work folder; works without Python there.

    Raises:
        DeviceError: It cannot be read.
    """
    place = transport.workdir
    # One of the three kinds of `flock` accepts only an open file; without `flock`, the device counts as free.
    listing = " ".join(f"{name}/* {name}/.[!.]*" for name in (FILES, JOBS))
    command = f"""
[ -e {place} ] || exit 0
cd {place} || exit
tell() {{ printf '%s\\000' "$1"; }}
tell "$(pwd -P)"; tell "$(du -sk . | cut -f1)"
holder=; [ ! -f {LOCK} ] || {{ (flock -n 9) 9>>{LOCK} 2>/dev/null; [ $? != 1 ] || holder=$(cat {LOCK}); }}
tell "$holder"; tell "$(cat {FOLDER}/{COMPLETE} 2>/dev/null)"
for name in * .[!.]* ..?* {listing} {FOLDER}/{COMPLETE}; do
  [ -e "$name" ] || [ -h "$name" ] || continue
  tell "$name"
done"""
    answer = Link(transport).run(command, "looking into its work folder", timeout_s=REMOVE_S)
    if not answer.strip():
        return WorkFolder()
    path, size, holder, about, *names = (part.decode("utf-8", "surrogateescape") for part in answer.split(b"\0")[:-1])
    return WorkFolder(
        path,
        int(size) << 10,
        tuple(names),
        tuple(_strange(names)),
        one_line(_member(holder, "owner") or "somebody else") if holder else "",
        _member(about, "base"),
    )


def clean(transport: Transport, found: WorkFolder) -> None:
    """Remove the work folder of a device.

    Raises:
        DeviceError: It holds other files, somebody measures there, or it cannot be removed.
    """
    if found.strange:
        others = f" and {len(found.strange) - 1} more" if len(found.strange) > 1 else ""
        message = f"{found.path} holds what edgeopt did not put there: {one_line(found.strange[0])}{others}"
        raise DeviceError(message, hint="nothing was removed; move it, or remove the folder yourself")
    if found.holder:
        raise DeviceError(f"{transport.uri} is in use by {found.holder}", hint="wait for its end")
    ours = shlex.join(OURS)
    # Pushed folders may be read-only; such a folder cannot be emptied.
    command = f"""
cd {shlex.quote(found.path)} || exit
rm -rf -- {ours} 2>/dev/null || {{ chmod -R u+w -- {ours} 2>/dev/null; rm -rf -- {ours}; }} || exit
cd / && rmdir -- {shlex.quote(found.path)}"""
    try:
        Link(transport).run(command, "removing its work folder", timeout_s=REMOVE_S)
    except CommandError as error:
        raise DeviceError(f"{transport.uri}: {found.path} cannot be removed", hint=error.hint) from error


def _strange(names: Iterable[str]) -> list[str]:
    """Return the paths that edgeopt did not create."""
    listed = list(names)
    found = []
    for name in listed:
        folder, slash, rest = name.partition("/")
        known = INSIDE.get(folder) if slash else None
        if folder not in OURS or (known is not None and not known.fullmatch(rest)):
            found.append(name)
    if FOLDER in listed and posixpath.join(FOLDER, COMPLETE) not in listed:
        found.append(FOLDER)
    return found


def _member(said: str, key: str) -> str:
    """Return a member of a JSON object as text, empty if it is missing."""
    try:
        return str(json.loads(said)[key])
    except (ValueError, TypeError, KeyError):
        return ""
