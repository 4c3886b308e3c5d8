"""The backend `saved-without-optimizer`: the source's own format, without the parts only for training."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.api import Artifact, Backend, ExportError
from edgeopt_saved_model.archive import strip_keras
from edgeopt_saved_model.folder import knows_owners, strip_saved_model
from edgeopt_saved_model.hdf5 import strip_h5
from edgeopt_saved_model.loading import Call, compare_keras, compare_saved_model

if TYPE_CHECKING:
    from edgeopt.api import ExportRequest, SourceModel

SETTINGS = "settings.json"
"""The runner's settings, stored beside the model."""
NOTHING = "nothing to remove"
NO_OWNERS = "nothing removed: a SavedModel of TensorFlow 1 does not say which variables are the optimizer's"


class SavedWithoutOptimizer(Backend):
    """Copies the source without optimizer variables, in its own format."""

    name = "saved-without-optimizer"
    summary = "the source's own format without the optimizer's variables"
    runner = Path(__file__).with_name("runner.py")
    requires = ("tensorflow>=2.21",)

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this backend cannot work here, or None."""
        return None if importlib.util.find_spec("tensorflow") else "the package tensorflow is not installed"

    def export(self, request: ExportRequest) -> Artifact:
        """Write the model without its optimizer and check that its answers stay the same, bit by bit.

        Raises:
            ExportError: The optimizer cannot be removed, or the model differs afterwards.
        """
        source = request.source
        target = request.out_dir / _file_name(source)
        request.log("removing the optimizer")
        if source.format == "saved_model":
            call, warnings = _export_folder(request, target)
        else:
            call, warnings = _export_file(request, target)
        before, after = size_bytes(source.path), size_bytes(target)
        if not warnings or warnings[0] not in {NOTHING, NO_OWNERS}:
            warnings.insert(0, f"the optimizer took {in_words(before - after)} of {in_words(before)}")
        (request.out_dir / SETTINGS).write_text(json.dumps(_settings(source, call), indent=1) + "\n", "utf-8")
        files = sorted(path for path in request.out_dir.rglob("*") if path.is_file())
        metadata: dict[str, Any] = {
            "format": source.format,
            "loader": call.loader,
            "source_bytes": before,
            "optimizer_bytes": max(0, before - after),
        }
        return Artifact(target, tuple(files), metadata, tuple(warnings))


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder, in bytes."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def in_words(size: int) -> str:
    """Return a human-readable size."""
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _export_file(request: ExportRequest, target: Path) -> tuple[Call, list[str]]:
    """Write a `.keras` or `.h5` file, and return its call and notes for the user."""
    source = request.source
    strip = strip_keras if source.format == "keras" else strip_h5
    try:
        removed = strip(source.path, target)
    except (OSError, ValueError) as error:
        raise ExportError(f"{source.path.name} cannot be copied without its optimizer: {error}") from error
    if not removed:
        shutil.copyfile(source.path, target)
    request.log("comparing it with the source")
    call = compare_keras(source, target, next(iter(request.calibration)))
    return call, [] if removed else [NOTHING]


def _export_folder(request: ExportRequest, target: Path) -> tuple[Call, list[str]]:
    """Write a SavedModel, and return its call and notes for the user."""
    source = request.source
    known = knows_owners(source.path)
    stripped = strip_saved_model(source.path, target) if known else None
    if stripped is None:
        shutil.copytree(source.path, target)
    request.log("comparing it with the source")
    before = stripped.before if stripped else None
    call = compare_saved_model(source, before, target, next(iter(request.calibration)))
    if stripped is None:
        return call, [NOTHING if known else NO_OWNERS]
    return call, list(stripped.notes)


def _file_name(source: SourceModel) -> str:
    """Return the artifact's name: that of the source's own file, which may be an `.hdf5`."""
    return source.name if source.format == "saved_model" else f"{source.name}{source.path.suffix}"


def _settings(source: SourceModel, call: Call) -> dict[str, Any]:
    """Return the runner's settings."""
    return {
        **asdict(call),
        "custom_modules": list(source.custom_modules),
        "trusted": source.trusted,
        "signature": source.signature,
        "specs": [{"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype} for spec in source.inputs],
        "dtypes": {spec.name: spec.dtype for spec in source.outputs},
    }
