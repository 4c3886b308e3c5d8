"""`edgeopt.export` for scripts and notebooks: the command as a function."""

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
    with a warning. `print(run)` shows the table, a
    notebook shows it by itself, `run.to_json()` gives everything.

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
        **{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()},
    }
    request = ExportSettings(**fields)
    outcome = run_export(request, progress or Silence())
    if isinstance(outcome.failure, EdgeoptError):
        warnings.warn(outcome.failure.message, stacklevel=2)
    elif outcome.failure is not None:
        raise outcome.failure
    return outcome.run
