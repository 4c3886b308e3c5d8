"""Download size and hash of a file or a folder."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from edgeopt.artifact import HashedFile, hash_file

if TYPE_CHECKING:
    from pathlib import Path

GZIP_LEVEL = 6
"""The default level of `gzip`."""
GZIP_FORMAT = 31
"""Makes zlib write a gzip stream with the largest window; its header lacks a name and has the time 0."""


def gzip_bytes(path: Path) -> int:
    """Return the size in bytes after `gzip -6`; for a folder, the sum over its files.

    The same bytes give the same size each time, with the same zlib.
    """
    return sum(_gzip_bytes(file) for file in _files(path))


def hash_tree(path: Path) -> tuple[HashedFile, ...]:
    """Return size and SHA-256 of a file, or of every file in a folder, ordered by path."""
    root = path if path.is_dir() else path.parent
    listed = [
        HashedFile(file.relative_to(root).as_posix(), file.stat().st_size, hash_file(file)) for file in _files(path)
    ]
    return tuple(sorted(listed, key=lambda file: file.path))


def sha256(path: Path) -> str:
    """Return the hash of a file or a folder, as hexadecimal text.

    For a file it is the SHA-256 of its bytes. For a folder it is the SHA-256 of the output of `sha256sum` for its
    files, ordered by path: names and contents count; times, permissions and empty folders do not.
    """
    if not path.is_dir():
        return hash_file(path)
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in hash_tree(path))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the file itself, or every file below a folder."""
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _gzip_bytes(file: Path) -> int:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
    with file.open("rb") as stream:
        size = sum(len(compressor.compress(block)) for block in iter(lambda: stream.read(1 << 20), b""))
    return size + len(compressor.flush())
