"""Copies a `.keras` archive without the optimizer; needs neither Keras nor TensorFlow."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

from edgeopt.api import ExportError
from edgeopt_saved_model.hdf5 import copy_group, optimizer_groups, without_settings

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def strip_keras(source: Path, target: Path) -> bool:
    """Copy a `.keras` file without optimizer variables and compile settings.

    With the compile settings left in, Keras would warn on loading that the optimizer has lost its variables. All other
    members of the archive keep their bytes, and all keep their time stamps, so the same source gives the same file.
    Returns False and writes nothing if there is nothing to remove.

    Raises:
        ExportError: The archive stores its weights in another way.
    """
    with zipfile.ZipFile(source) as old, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        if WEIGHTS not in old.namelist():
            raise ExportError(
                f"the archive has no {WEIGHTS}", hint="load it with Keras and save it again with model.save()"
            )
        config = json.loads(old.read(CONFIG))
        smaller = without_settings(config)
        weights = _strip_weights(old, Path(scratch))
        if weights is None and smaller == config:
            return False
        with zipfile.ZipFile(target, "w") as new:
            for member in old.infolist():
                if member.filename == CONFIG and smaller != config:
                    new.writestr(_like(member), json.dumps(smaller))
                elif member.filename == WEIGHTS and weights is not None:
                    _write(new, member, weights)
                else:
                    with old.open(member) as stream, new.open(_like(member), "w", force_zip64=_large(member)) as copy:
                        shutil.copyfileobj(stream, copy, 1 << 20)
    return True


def _strip_weights(archive: zipfile.ZipFile, scratch: Path) -> Path | None:
    """Return a copy of the weights file without optimizers, or None if it does not have any."""
    import h5py

    full, smaller = scratch / "full.h5", scratch / "smaller.h5"
    with archive.open(WEIGHTS) as stream, full.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
    with h5py.File(full, "r") as old:
        optimizers = optimizer_groups(old)
        if not optimizers:
            return None
        with h5py.File(smaller, "w") as new:
            copy_group(old, new, optimizers)
    return smaller


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> None:
    """Write a file into an archive in place of `member`."""
    with file.open("rb") as stream, archive.open(_like(member), "w", force_zip64=_large(member)) as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)


def _like(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return a new entry with the name, time stamp and compression of another."""
    entry = zipfile.ZipInfo(member.filename, member.date_time)
    entry.compress_type = member.compress_type
    entry.external_attr = member.external_attr
    return entry


def _large(member: zipfile.ZipInfo) -> bool:
    """Return whether the entry may need the ZIP64 format."""
    return member.file_size > 1 << 31
