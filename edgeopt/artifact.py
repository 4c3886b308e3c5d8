"""The artifact on disk: staging, hashes, the manifest `edgeopt.json`, and the move into place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from importlib import metadata
from typing import IO, TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, ExportError, readable
from edgeopt.report.document import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MANIFEST, SCHEMA = "edgeopt.json", 1


@dataclass(frozen=True, slots=True)
class HashedFile:
    """One file of an artifact; `path` is relative to its folder, with forward slashes."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of `verify`: the number of files checked, and a sentence for each problem."""

    files: int
    problems: tuple[str, ...]


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with file.open("rb") as stream:
        return hash_stream(stream)


def hash_stream(stream: IO[bytes]) -> str:
    """Return the SHA-256 of the rest of a stream as hexadecimal text."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def edgeopt_version() -> str:
    """Return the installed version of edgeopt."""
    return metadata.version("edgeopt")


def check_files(folder: Path, main: Path, files: Iterable[Path]) -> list[HashedFile]:
    """Check the files that a backend lists against those in `folder`, and hash them.

    Raises:
        ExportError: A file is missing, outside the folder, unlisted, not regular, not named in UTF-8, or is a manifest.
    """
    root = folder.resolve()
    listed = {file.resolve() for file in files}
    for file in (*sorted(listed), main.resolve()):
        if not file.is_relative_to(root):
            raise ExportError(f"the backend lists {file}, which is outside its output folder")
        if not os.path.lexists(file):
            raise ExportError(f"the backend lists {file.relative_to(root)}, which it did not write")
    if folders := _named(root, (path for path in listed if path.is_dir())):
        raise ExportError(f"the backend lists folders among its files: {folders}")
    if not listed:
        raise ExportError("the backend wrote no files")
    _check_present(root, listed)
    return [
        HashedFile(file.relative_to(root).as_posix(), file.stat().st_size, hash_file(file)) for file in sorted(listed)
    ]


def _check_present(root: Path, listed: set[Path]) -> None:
    """Refuse files in the folder of an artifact that cannot be shipped or are unlisted."""
    present = _present(root)
    if links := _named(root, (path for path, mode in present.items() if stat.S_ISLNK(mode))):
        raise ExportError(f"the backend wrote links, which cannot be shipped: {links}")
    if special := _named(root, (path for path, mode in present.items() if not stat.S_ISREG(mode))):
        raise ExportError(f"the backend wrote pipes, sockets or devices, which cannot be shipped: {special}")
    if extra := _named(root, present.keys() - listed):
        raise ExportError(f"the backend wrote files that it does not list: {extra}")
    if odd := _named(root, (path for path in listed if readable(path) != str(path))):
        raise ExportError(f"the backend wrote a file whose name is no UTF-8: {odd}")
    if root / MANIFEST in listed:
        raise ExportError(f"the backend wrote {MANIFEST}, which is what edgeopt itself calls its manifest")


def _present(root: Path) -> dict[Path, int]:
    """Return all paths below a folder but folders, with their modes; nothing is opened, since a pipe would hang."""
    modes = {path: path.lstat().st_mode for path in root.rglob("*")}
    return {path: mode for path, mode in modes.items() if not stat.S_ISDIR(mode)}


def _named(root: Path, paths: Iterable[Path]) -> str:
    """Return paths relative to a folder, in one text."""
    return ", ".join(sorted(path.relative_to(root).as_posix() for path in paths))


def write_manifest(folder: Path, facts: Mapping[str, Any], files: Iterable[HashedFile]) -> None:
    """Write `edgeopt.json` into `folder`: the facts, then path, size and SHA-256 of every file."""
    listing = [{"path": f.path, "bytes": f.bytes, "sha256": f.sha256} for f in files]
    document = {"schema": SCHEMA, **facts, "files": listing}
    (folder / MANIFEST).write_text(to_json(document) + "\n", "utf-8")


def refuse_foreign(final: Path) -> None:
    """Check that `final` is missing, or an artifact of edgeopt without the user's files.

    Raises:
        BadInputError: It is something else, and must not be replaced.
    """
    if not os.path.lexists(final):
        return
    hint = "move it away, or choose another folder with --out"
    try:
        manifest = read_manifest(final) if final.is_dir() and not final.is_symlink() else {}
    except BadInputError:
        manifest = {}
    if manifest.get("schema") != SCHEMA:
        raise BadInputError(f"{final} exists and was not written by edgeopt", hint=hint)
    known = {final / MANIFEST, *(final / file.path for file in manifest["files"])}
    if strange := _named(final, _present(final).keys() - known):
        raise BadInputError(f"{final} holds what edgeopt did not write there: {strange}", hint=hint)


def publish(staged: Path, final: Path) -> None:
    """Move a complete artifact into place, replacing an older one as a whole.

    Raises:
        BadInputError: `final` exists and is not purely an artifact of edgeopt, so it stays unchanged.
    """
    refuse_foreign(final)
    old = staged.with_name(staged.name + "-old")
    if final.exists():
        final.rename(old)
    staged.chmod(0o755)
    try:
        staged.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an artifact.

    Raises:
        BadInputError: It is missing or cannot be read.
    """
    file = folder / MANIFEST if folder.is_dir() else folder
    if folder.is_file() and folder.name != MANIFEST:
        raise BadInputError(f"{folder} is a file, and no artifact", hint=f"name its folder: {folder.parent}")
    try:
        if file.exists() and not file.is_file():  # a pipe would hang
            raise BadInputError(f"{file} is no regular file")
        document = json.loads(file.read_text("utf-8"))
        document["files"] = [HashedFile(str(f["path"]), int(f["bytes"]), str(f["sha256"])) for f in document["files"]]
    except FileNotFoundError as error:
        raise BadInputError(
            f"{folder} is no artifact: it has no {MANIFEST}", hint="name a folder that edgeopt export wrote"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInputError(f"{file} cannot be read: {error}") from error
    return dict(document)


def verify(folder: Path) -> Verification:
    """Check every file of an artifact against its manifest.

    Raises:
        BadInputError: `folder` is not an artifact.
    """
    files: list[HashedFile] = read_manifest(folder)["files"]
    root = (folder if folder.is_dir() else folder.parent).resolve()
    problems = [problem for file in files if (problem := _problem(root, file))]
    known = {file.path for file in files} | {MANIFEST}
    present = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_symlink() or not p.is_dir()}
    problems += [f"{path} is not in the manifest" for path in sorted(present - known)]
    return Verification(len(files), tuple(problems))


def _problem(root: Path, file: HashedFile) -> str | None:
    """Return the problem of one file, or None."""
    path = root / file.path
    if not path.resolve().is_relative_to(root):
        return f"{file.path} lies outside the artifact"
    if not path.is_file():
        return f"{file.path} is missing"
    if path.stat().st_size != file.bytes or hash_file(path) != file.sha256:
        return f"{file.path} has changed"
    return None
