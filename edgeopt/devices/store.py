"""Files on a device: pushed once under the hash of their content, and folders that are pulled back."""

from __future__ import annotations

import hashlib
import posixpath
import shlex
import tarfile
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

from edgeopt.devices.link import CommandError
from edgeopt.devices.parcel import Parcel
from edgeopt.errors import DeviceError, full_disk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeopt.devices.link import Link
    from edgeopt.errors import EdgeoptError

PUSH_S = 600.0
FILES = "files"
CHANGED_ON_THE_WAY = 65
"""Exit code of the unpacking command if the hash differs from the one that was sent."""


class Store:
    """The files of edgeopt on one device.

    Args:
        link: Runs commands on it.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pushed: dict[tuple[Path, ...], str] = {}
        self._there: set[str] = set()
        self._dropped: list[str] = []
        self.folder = ""
        """The work folder on the device, as an absolute path."""

    def open(self) -> None:
        """Make the work folder, list its files, and send again those that were lost.

        Raises:
            DeviceError: It cannot be made.
        """
        place = self._link.transport.workdir
        command = f"umask 077; mkdir -p {place}/{FILES} && cd {place} && pwd -P && ls {FILES}"
        folder, *names = self._link.run(command, "making its work folder").decode("utf-8", "replace").splitlines()
        self.folder, self._there = folder, set(names)
        self.drop()
        # A restarted device may have lost them. Those moved on the host are forgotten; `push` sends the new path.
        self._pushed = {paths: sent for paths, sent in self._pushed.items() if all(path.exists() for path in paths)}
        for paths, digest in self._pushed.items():
            if digest not in self._there:
                self._pushed[paths] = self._send(paths)

    def push(self, *paths: Path) -> str:
        """Make files and folders of the host readable on the device; return their common folder.

        Raises:
            DeviceError: They cannot be stored there.
        """
        digest = self._pushed.get(paths) or self._send(paths)
        self._pushed[paths] = digest
        return posixpath.join(self.folder, FILES, digest)

    def drop(self, *remote: str) -> None:
        """Remove folders of the device; if the link is lost, on the next `open` or `drop`."""
        self._dropped += remote
        if self._dropped:
            with suppress(DeviceError):
                self._link.run(f"rm -rf {shlex.join(self._dropped)}", "removing what is not needed any more")
                self._dropped.clear()

    def pull(self, remote: str, path: Path) -> None:
        """Copy a folder of the device to `path` on the host.

        Raises:
            DeviceError: It cannot be read there, or changes on its way.
        """
        answer = self._link.run(_packing(remote), "reading what was made there", timeout_s=PUSH_S)
        said, _, packed = answer.partition(b"\n")
        if said != hashlib.sha256(packed).hexdigest().encode():
            raise DeviceError(f"{self._link.transport.uri}: {remote} changed on its way")
        path.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=BytesIO(packed)) as tar:
            tar.extractall(path, filter="data")

    def _send(self, paths: Iterable[Path]) -> str:
        """Store files under the hash of their content unless they exist; return the hash."""
        parcel = Parcel(paths)
        try:
            if parcel.sha256 not in self._there:
                self._link.run(
                    _unpacking(self.folder, parcel.sha256), "storing files", send=parcel.stream, timeout_s=PUSH_S
                )
                self._there.add(parcel.sha256)
        except CommandError as error:
            raise _why_not_stored(error) from error
        finally:
            parcel.close()
        return parcel.sha256


def _unpacking(folder: str, digest: str) -> str:
    """Return the command that reads a tar, checks it, and moves its files into place at once."""
    final = shlex.quote(posixpath.join(folder, FILES, digest))
    return f"""
umask 077; t={final}.$$; trap 'rm -rf "$t" "$t.tar"' EXIT
cat >"$t.tar" || exit
[ "$(sha256sum <"$t.tar" | cut -c1-64)" = {digest} ] || exit {CHANGED_ON_THE_WAY}
mkdir "$t" && tar -xf "$t.tar" -C "$t" || exit
[ -d {final} ] || mv "$t" {final}"""


def _packing(remote: str) -> str:
    """Return the command that prints a line with the hash of a folder's tar, then the tar.

    It packs twice, since a stored tar would take space there.
    """
    pack = f"tar -cf - -C {shlex.quote(remote)} ."
    return f"{pack} | sha256sum | cut -c1-64 && {pack}"


def _why_not_stored(error: CommandError) -> EdgeoptError:
    """Return the error for files that could not be stored."""
    if error.code == CHANGED_ON_THE_WAY:
        return DeviceError(f"{error.message}: they changed on their way", hint="the link is bad; try again")
    return full_disk(error.said, error.message) or error
