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


def export(  # noqa: PLR0913 - what a script names often; the rest is in `settings`
    model: Any = None,
    targets: str | Sequence[str] = (),
    *,
    data: str | os.PathLike[str] | None = None,
    device: str | None = None,
    out: str | os.PathLike[str] = "dist",
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Export a model for every target, run what came out, and return what was found.

    A target that fails is a row of the run with its reason, and no exception; a run that cannot be saved is returned
    with a warning. `print(run)` shows the table, a notebook shows it by itself, `run.to_json()` gives everything.

    Args:
        model: A path, `keras:NAME`, a Keras model, or None for what `edgeopt.toml` names, else the embedded demo.
        targets: A name, or several; `all` stands for every target.
        data: A `.npz` with arrays named like the inputs, and `labels` where there are some; None is seeded noise.
        device: Where the artifacts run; None is what the targets name, else `local`.
        out: The folder to write to.
        progress: Is told what is going on.
        settings: Any other field of `ExportSettings`, for instance `threads=4` or `settings=["quantizer=converter"]`.

    Raises:
        EdgeoptError: Nothing could be tried: the model, the data or a target cannot be used.
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
    """Measure artifacts that exist, on all devices at once, and return one run for each device.

    A device that cannot be reached is a run whose rows say so, and no exception.

    Args:
        path: The folder of a model that `export` wrote, or one artifact in it.
        devices: A name or an address, or several; this machine when there are none.
        targets: Which artifacts; all when there are none.
        progress: Is told what is going on.
        settings: Any other field of `ExportSettings` that concerns measuring, for instance `threads=4`.

    Raises:
        EdgeoptError: There is no artifact, or a name is wrong.
    """
    from edgeopt.pipeline.profile import run_profile

    fields: dict[str, Any] = {"rank": True, "command": ("edgeopt.profile", str(path))}
    fields["targets"] = (targets,) if isinstance(targets, str) else tuple(targets)
    named = (devices,) if isinstance(devices, str) else tuple(devices)
    found = run_profile(Path(path), named, _settings(fields | settings), progress or Silence())
    _tell(found.failure)
    return found.runs


def _settings(fields: dict[str, Any]) -> ExportSettings:
    """Return the settings; lists and paths are taken in the forms in which scripts write them."""
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    if given.get("native_program") is not None:
        given["native_program"] = Path(given["native_program"])
    return ExportSettings(**given)


def _tell(failure: Exception | None) -> None:
    """Warn of what ended a run early; a bug is raised."""
    if isinstance(failure, EdgeoptError):
        warnings.warn(failure.message, stacklevel=3)
    elif failure is not None:
        raise failure
