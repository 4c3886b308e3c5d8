"""`edgeopt.export` and `edgeopt.profile` for scripts and notebooks: the commands as functions."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import EdgeoptError
from edgeopt.pipeline.request import ExportSettings, Silence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.pipeline.request import Progress
    from edgeopt.report.schema import Run


def export(  # noqa: PLR0913 - frequent arguments of scripts; the rest is in `settings`
    model: Any = None,
    targets: str | Sequence[str] = (),
    *,
    data: str | os.PathLike[str] | None = None,
    device: str | None = None,
    out: str | os.PathLike[str] = "dist",
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Export a model for every target, run the artifacts, and return the run.

    A failed target is a row with its reason, not an exception; a run that cannot be saved is returned with a warning.
    `print(run)` shows the table, a notebook displays it automatically, `run.to_json()` returns the complete document.

    Args:
        model: A path, `keras:NAME`, a Keras model, or None for the model in `edgeopt.toml`, else the embedded demo.
        targets: One or more names; `all` selects every target.
        data: A `.npz` with arrays named like the inputs, and optional `labels`; see `ExportSettings.data` for None.
        device: The device that runs the artifacts; None is the one named by the targets, else `local`.
        out: The output folder.
        progress: Receives progress messages.
        settings: Any other field of `ExportSettings`, for instance `threads=4` or `settings=["quantizer=converter"]`.

    Raises:
        EdgeoptError: The run cannot start: the model, the data or a target is unusable.
    """
    from edgeopt.pipeline.export import run_export

    chosen = (targets,) if isinstance(targets, str) else tuple(targets)
    fields: dict[str, Any] = {
        "model": os.fspath(model) if isinstance(model, os.PathLike) else model,
        "targets": chosen,
        "data": None if data is None else Path(data),
        "device": device,
        "out": Path(out),
        "command": ("edgeopt.export", *chosen),
    }
    outcome = run_export(_settings(fields | settings), progress or Silence())
    _tell(outcome.failure)
    return outcome.run


def profile(
    path: str | os.PathLike[str],
    devices: str | Sequence[str] = (),
    *,
    targets: str | Sequence[str] = (),
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[Run, ...]:
    """Measure existing artifacts, and return one run per device.

    Devices on this machine are measured in turn, all others at once. If a device cannot be reached, the rows of its
    run report it; this does not raise an exception.

    Args:
        path: The folder of a model that `export` wrote, or one artifact in it.
        devices: One or more names or addresses; this machine if empty.
        targets: Names of artifacts; all if empty.
        progress: Receives progress messages.
        settings: Any other field of `ExportSettings` that concerns measuring, for instance `threads=4`.

    Raises:
        EdgeoptError: The folder does not contain an artifact, or a name is invalid.
    """
    from edgeopt.pipeline.profile import run_profile

    fields: dict[str, Any] = {"rank": True, "command": ("edgeopt.profile", str(path))}
    fields["targets"] = (targets,) if isinstance(targets, str) else tuple(targets)
    named = (devices,) if isinstance(devices, str) else tuple(devices)
    found = run_profile(Path(path), named, _settings(fields | settings), progress or Silence())
    _tell(found.failure)
    return found.runs


def _settings(fields: dict[str, Any]) -> ExportSettings:
    """Return the settings; accept lists and paths as scripts write them."""
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    if given.get("native_program") is not None:
        given["native_program"] = Path(given["native_program"])
    return ExportSettings(**given)


def _tell(failure: Exception | None) -> None:
    """Warn of the error that ended a run early; raise it if it is a bug."""
    if isinstance(failure, EdgeoptError):
        warnings.warn(failure.message, stacklevel=3)
    elif failure is not None:
        raise failure
