"""Artifacts of an earlier export, read from their manifests and from `run.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.artifact import MANIFEST, read_manifest, verify
from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError, EdgeoptError, UsageError, did_you_mean
from edgeopt.pipeline.entries import Entry
from edgeopt.pipeline.exporting import Exported
from edgeopt.pipeline.needs import declared
from edgeopt.pipeline.plan import Plan, Refusal
from edgeopt.pipeline.workspace import RUN
from edgeopt.registry import find_backends
from edgeopt.report.schema import Run
from edgeopt.targets import Target, find_targets, split_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

AGAIN = "name the folder of a model that edgeopt export wrote, for instance dist/demo"


@dataclass(frozen=True, slots=True)
class Made:
    """The folder of a model, and the selected artifacts in it."""

    folder: Path
    run: Run
    """The content of `run.json`: the model, its data, the source's row."""
    names: tuple[str, ...]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs of the model."""
        return tuple(TensorSpec(tensor.name, tensor.shape, tensor.dtype) for tensor in self.run.model.inputs)


def read_made(path: Path, targets: Iterable[str]) -> Made:
    """Return the artifacts in a model's folder, or the single one at `path`.

    Args:
        path: The folder of a model, or of one artifact in it.
        targets: Names of the selected artifacts; all if empty.

    Raises:
        BadInputError: The folder does not contain an artifact, or `run.json` is missing or unreadable.
        UsageError: A named artifact does not exist.
    """
    if not path.is_dir():
        raise BadInputError(f"there is no folder {path}", hint=AGAIN)
    path = path.absolute()
    folder = path.parent if (path / MANIFEST).is_file() else path
    found = [path.name] if folder != path else [file.parent.name for file in sorted(path.glob(f"*/{MANIFEST}"))]
    if not found:
        raise BadInputError(f"there is no artifact in {path}", hint=AGAIN)
    wanted = [name for name in split_names(targets) if name != "all"]
    for name in wanted:
        if name not in found:
            raise UsageError(f"there is no artifact {name!r} in {path}", hint=did_you_mean(name, found, listed=True))
    run = _read_run(folder / RUN)
    order = [result.target for result in run.results]
    names = sorted(wanted or found, key=lambda name: (order.index(name) if name in order else len(order), name))
    return Made(folder, run, tuple(dict.fromkeys(names)))


def make_entries(made: Made) -> dict[str, Entry]:
    """Return an entry for each artifact; an unusable one holds its error."""
    known = find_targets()
    return {name: _entry(made, name, known) for name in made.names}


def _entry(made: Made, name: str, known: Mapping[str, Target]) -> Entry:
    folder = made.folder / name
    try:
        manifest = read_manifest(folder)
        target = known.get(name)
        if target is None or target.problem is not None or target.backend != manifest["backend"]:
            target = Target(name, "", str(manifest["backend"]))
        plan = _plan(target, manifest)
        if isinstance(plan, Refusal):
            return Entry(plan, plan.error)
        if manifest["model"]["sha256"] != made.run.model.sha256:
            raise BadInputError("it was made from another model than the latest export", hint="export it again")
        if problems := verify(folder).problems:
            raise BadInputError(f"it is not as it was written: {problems[0]}", hint="export it again")
        exported = _exported(plan, folder, manifest)
    except (KeyError, TypeError, ValueError) as error:
        problem = BadInputError(f"its {MANIFEST} cannot be used: {error!r}", hint="export it again")
        return Entry(Refusal(Target(name, "", ""), "", problem), problem)
    except EdgeoptError as error:
        return Entry(Refusal(Target(name, "", ""), "", error), error)
    rows = {result.target: result.artifact for result in made.run.results if result.artifact}
    return Entry(
        plan, exported=exported, folder=folder, published=True, gzip_bytes=rows[name].gzip_bytes if name in rows else 0
    )


def _plan(target: Target, manifest: Mapping[str, Any]) -> Plan | Refusal:
    """Return the plan with the backend whose runner runs an artifact, or why it is missing."""
    try:
        registered = find_backends().get(target.backend)
    except EdgeoptError as error:
        return Refusal(target, str(manifest["plugin"]), error)
    return Plan(target, registered, dict(manifest["options"]))


def _exported(plan: Plan, folder: Path, manifest: Mapping[str, Any]) -> Exported:
    needs, fallback = declared(manifest)
    return Exported(
        plan=plan,
        folder=folder,
        main=folder / str(manifest["main"]),
        files=tuple(manifest["files"]),
        metadata=dict(manifest["metadata"]),
        warnings=tuple(map(str, manifest["warnings"])),
        calibration_feeds=int((manifest["calibration"] or {}).get("feeds", 0)),
        needs=needs,
        fallback=fallback,
    )


def _read_run(file: Path) -> Run:
    try:
        run = Run.from_json(file.read_text("utf-8"))
        run.source  # noqa: B018 - a run without a source is invalid
    except FileNotFoundError as error:
        raise BadInputError(f"there is no {RUN} in {file.parent}", hint=AGAIN) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise BadInputError(f"{file} cannot be read: {error}", hint="export the model again") from error
    return run
