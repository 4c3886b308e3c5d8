"""Resolve the user's options to one source model, checked without TensorFlow."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, UsageError
from edgeopt.source.applications import NAMES, PREFIX, find_application
from edgeopt.source.arguments import parse_ranges, parse_shapes
from edgeopt.source.files import check_file
from edgeopt.source.project import read_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEMO = Path(__file__).parent / "demo" / "demo.keras"
RUNNER = Path(__file__).with_name("runner.py")
"""Runs the normalised SavedModel on a device; never imported by the host."""
RUNNER_REQUIRES = ("tensorflow",)
"""Requirements of the source model's runner."""


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """One source model and all options given for it; passed between processes as JSON."""

    name: str
    """Short, and valid as a folder name."""
    format: str
    """`keras`, `h5`, `saved_model` or `application`."""
    path: str
    """Absolute; empty for an application."""
    application: str
    """A name of Keras Applications; empty for a file or folder."""
    weights: str | None
    """For an application: `imagenet`, `none` or the absolute path of a file."""
    input_shapes: dict[str, tuple[int, ...]]
    """Without the batch; an empty name stands for the only input."""
    input_ranges: dict[str, tuple[float, float]]
    batch: int
    signature: str | None
    custom_modules: tuple[str, ...]
    trusted: bool
    chosen_by: str
    """`the command line`, `edgeopt.toml`, `[tool.edgeopt] in pyproject.toml` or `the embedded demo`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SourceChoice:
        """Return the record from the values of `to_dict`, also after a round trip through JSON."""
        lists = {
            "input_shapes": {name: tuple(shape) for name, shape in values["input_shapes"].items()},
            "input_ranges": {name: (low, high) for name, (low, high) in values["input_ranges"].items()},
            "custom_modules": tuple(values["custom_modules"]),
        }
        return cls(**{**values, **lists})


def resolve_source(  # noqa: PLR0913 - one argument per option of the command line
    model: str | None,
    *,
    weights: str | None = None,
    input_shapes: Iterable[str] = (),
    input_ranges: Iterable[str] = (),
    batch: int = 1,
    signature: str | None = None,
    custom_modules: Iterable[str] = (),
    trusted: bool = False,
    folder: Path | None = None,
) -> SourceChoice:
    """Return the chosen model, after the checks that do not need TensorFlow.

    Args:
        model: A path, `keras:NAME`, or None for the model of the project in `folder`, else the embedded demo.
        weights: `imagenet`, `none` or a file, for `keras:NAME` only.
        input_shapes: Texts `96,96,3` or `NAME=96,96,3`, without the batch.
        input_ranges: Texts `0,255` or `NAME=0,255`.
        batch: Number of samples per call of the model.
        signature: Signature of a SavedModel.
        custom_modules: Modules that register custom Keras objects on import.
        trusted: Whether code stored in the model file may run.
        folder: Base of relative paths, by default the current folder.

    Raises:
        UsageError: An option is invalid, or does not apply to this kind of model.
        BadInputError: The model cannot be used.
    """
    if batch < 1:
        raise UsageError(f"--batch {batch}: must be at least 1")
    place = folder or Path.cwd()
    text, chosen_by = _choose(model, place)
    given = {
        "input_shapes": parse_shapes(input_shapes),
        "input_ranges": parse_ranges(input_ranges),
        "batch": batch,
        "signature": signature,
        "custom_modules": tuple(custom_modules),
        "trusted": trusted,
        "chosen_by": chosen_by,
    }
    if text.startswith(PREFIX):
        return _application(text.removeprefix(PREFIX), weights, place, given)
    return _file(text, weights, place, given)


def _choose(model: str | None, folder: Path) -> tuple[str, str]:
    """Return the text that names the model, and its origin."""
    if model is not None:
        return model, "the command line"
    project = read_project(folder)
    if project.model is not None:
        return project.model, project.origin
    return str(DEMO), "the embedded demo"


def _application(text: str, weights: str | None, folder: Path, given: dict[str, Any]) -> SourceChoice:
    name = find_application(text)
    if given["signature"] is not None:
        raise UsageError("--signature goes with a SavedModel folder only")
    weights = weights or "imagenet"
    if weights not in {"imagenet", "none"}:
        file = (folder / weights).absolute()
        if not file.is_file():
            raise BadInputError(f"there is no weights file {weights}", hint="--weights takes imagenet, none or a file")
        weights = str(file)
    return SourceChoice(name, "application", "", name, weights, **given)


def _file(text: str, weights: str | None, folder: Path, given: dict[str, Any]) -> SourceChoice:
    if weights is not None:
        raise UsageError(f"--weights goes with {PREFIX}NAME only", hint=f"for instance {PREFIX}MobileNetV2")
    path = (folder / Path(text).expanduser()).absolute()
    if not path.exists():
        raise _missing(text, path)
    kind = check_file(path)
    if given["signature"] is not None and kind != "saved_model":
        raise UsageError("--signature goes with a SavedModel folder only")
    return SourceChoice(_short_name(path), kind, str(path), "", None, **given)


def _missing(text: str, path: Path) -> BadInputError:
    """Return the error for a missing path, with similar names as the hint."""
    from difflib import get_close_matches

    application = {name.lower(): name for name in NAMES}.get(text.lower())
    if application:
        return BadInputError(f"there is no file or folder {text}", hint=f"did you mean {PREFIX}{application}?")
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=3)
    hint = f"did you mean {' or '.join(str(Path(text).parent / name) for name in near)}?" if near else ""
    return BadInputError(f"there is no file or folder {text}", hint=hint or f"for instance {PREFIX}MobileNetV2")


def _short_name(path: Path) -> str:
    """Return the file name without its suffix, or the parent's name if it is only a version number."""
    resolved = path.resolve()
    name = resolved.name if resolved.is_dir() else resolved.stem
    if name.isdigit():
        name = resolved.parent.name
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or "model"
