"""Detect the format of a file or folder by its first bytes and name, without loading it."""

from __future__ import annotations

import stat
import zipfile
from typing import TYPE_CHECKING

from edgeopt.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

HDF5_START = b"\x89HDF\r\n\x1a\n"
ACCEPTED = "give a .keras file, an .h5 file, a SavedModel folder, or keras:NAME"
STRANGERS = {
    ".tflite": "a finished TFLite file",
    ".onnx": "an ONNX file",
    ".pb": "a bare graph",
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".json": "an architecture without weights",
}


def check_file(path: Path) -> str:
    """Return the format of the model at `path`: `keras`, `h5` or `saved_model`.

    Raises:
        BadInputError: It does not have one of these formats, or is visibly broken.
    """
    if path.is_dir():
        return _check_folder(path)
    start = _first_bytes(path)
    suffix = path.suffix
    if suffix == ".keras":
        return _check_keras(path, start)
    if suffix in {".h5", ".hdf5"}:
        return _check_h5(path, start)
    if path.name == "saved_model.pb":
        raise BadInputError(f"{path} is inside a SavedModel", hint=f"give the folder: {path.parent}")
    what = STRANGERS.get(suffix, "of an unknown kind")
    raise BadInputError(f"{path} is {what}, not a source model", hint=ACCEPTED)


def is_saved_model(folder: Path) -> bool:
    """Return whether a folder contains a SavedModel."""
    return any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))


def _check_folder(path: Path) -> str:
    if is_saved_model(path):
        return "saved_model"
    inside = sorted(path.iterdir())
    models = [
        str(item) for item in inside if item.suffix in {".keras", ".h5"} or (item.is_dir() and is_saved_model(item))
    ]
    hint = f"did you mean {' or '.join(models[:3])}?" if models else "a SavedModel folder holds a file saved_model.pb"
    raise BadInputError(f"the folder {path} is no SavedModel", hint=hint)


def _first_bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would hang
            raise BadInputError(f"{path} is no regular file", hint=ACCEPTED)
        with path.open("rb") as file:
            start = file.read(len(HDF5_START))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    if not start:
        raise BadInputError(f"{path} is empty", hint="save or copy it again")
    return start


def _check_keras(path: Path, start: bytes) -> str:
    if start == HDF5_START:
        raise BadInputError(f"{path} is an HDF5 file with the ending of another format", hint="rename it to .h5")
    if not zipfile.is_zipfile(path):
        broken = "is cut short" if start.startswith(b"PK") else "is no .keras file"
        raise BadInputError(f"{path} {broken}", hint="save or copy it again")
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            raise BadInputError(f"{path} is a zip file without a Keras model in it", hint=ACCEPTED)
    return "keras"


def _check_h5(path: Path, start: bytes) -> str:
    if start.startswith(b"PK"):
        raise BadInputError(f"{path} is a zip file with the ending of another format", hint="rename it to .keras")
    if start != HDF5_START:
        raise BadInputError(f"{path} is no HDF5 file", hint="save or copy it again")
    return "h5"
