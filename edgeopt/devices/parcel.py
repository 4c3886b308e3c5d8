"""Files and folders as one tar, named by its content so that a device receives it only once."""

from __future__ import annotations

import posixpath
import tarfile
import tempfile
from typing import IO, TYPE_CHECKING

from edgeopt.artifact import MANIFEST, hash_stream
from edgeopt.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

IN_MEMORY_BYTES = 16 << 20


class Parcel:
    """A tar of files; the same files give the same bytes on any machine at any time.

    Args:
        paths: Files and folders, each under its own name at the top of the tar.

    Raises:
        BadInputError: One of them cannot be read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.stream: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        """The tar, positioned at its start."""
        try:
            with tarfile.open(fileobj=self.stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for path in sorted(paths):
                    tar.add(path, arcname=path.name, filter=_anonymous)
        except OSError as error:
            raise BadInputError(f"{error.filename} cannot be read: {error.strerror}") from error
        self.stream.seek(0)
        self.sha256 = hash_stream(self.stream)
        """Hash of the tar, as hexadecimal text."""
        self.stream.seek(0)

    def close(self) -> None:
        """Free the memory or disk space of the tar."""
        self.stream.close()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Return an entry without metadata that depends on the machine or the day.

    A manifest is left out: it records when an artifact was made, and no runner reads it.
    """
    if posixpath.basename(entry.name) == MANIFEST:
        return None
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry
