"""`edgeopt verify`: whether an artifact is still what was written, and whether a device can run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli.options import Json, complete_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    from rich.console import RenderableType

    from edgeopt.artifact import Verification
    from edgeopt.errors import EdgeoptError

    Misfits: TypeAlias = Mapping[str, Mapping[Path, EdgeoptError | None]]
    """By device and artifact, why it cannot run there, or None."""


def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An artifact, or a folder with several below it.")],
    *,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            metavar="NAME",
            autocompletion=complete_device,
            help="Also check whether this device can run it: packages and processor instructions. May be repeated.",
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Check the files of an artifact against its manifest."""
    from edgeopt.artifact import MANIFEST, verify
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import to_json
    from edgeopt.errors import ExitCode

    check_json(json)
    # Without a manifest of its own, PATH may be the folder of a whole run; nothing below it is an error of verify().
    below = [] if (path / MANIFEST).is_file() else sorted(file.parent for file in path.rglob(MANIFEST))
    found = {artifact: _verified(artifact) for artifact in below} or {path: verify(path)}
    misfits = {name: _misfits(list(found), name) for name in device or ()}
    documents = [_document(artifact, verification, misfits) for artifact, verification in found.items()]
    lines = [line for artifact, verification in found.items() for line in _lines(artifact, verification, misfits)]
    deliver(to_json(documents), json, *lines)
    if any(verification.problems for verification in found.values()):
        raise typer.Exit(ExitCode.BAD_INPUT)
    if any(misfit for found_there in misfits.values() for misfit in found_there.values()):
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _verified(artifact: Path) -> Verification:
    """Return what is found of one artifact among several; a manifest that cannot be read is its problem alone."""
    from edgeopt.artifact import Verification, verify
    from edgeopt.errors import BadInputError

    try:
        return verify(artifact)
    except BadInputError as error:
        return Verification(0, (error.message,))


def _misfits(artifacts: list[Path], name: str) -> Mapping[Path, EdgeoptError | None]:
    """Return why the device cannot run each artifact."""
    from edgeopt.cli.console import messages
    from edgeopt.cli.progress import watch
    from edgeopt.pipeline.needs import find_misfits

    with watch(messages()) as progress:
        progress.stage(name, "checking what the device has")
        return find_misfits(artifacts, name)


def _document(artifact: Path, verification: Verification, misfits: Misfits) -> dict[str, Any]:
    """Return one artifact for the JSON document; `misfits` by device, only if devices were named."""
    document = {"path": str(artifact), "files": verification.files, "problems": list(verification.problems)}
    found = {name: found_there[artifact] for name, found_there in misfits.items()}
    if not found:
        return document
    described = {name: m and {"message": m.message, "hint": m.hint} for name, m in found.items()}
    return {**document, "misfits": described}


def _lines(artifact: Path, verification: Verification, misfits: Misfits) -> Iterator[RenderableType]:
    """Yield what to print about one artifact."""
    from edgeopt.cli.lists import Paragraph
    from edgeopt.report.notes import shown_path
    from edgeopt.report.plain import plain
    from edgeopt.report.quantities import counted

    written = f"is as it was written ({counted(verification.files, 'file')})"
    yield Paragraph(f"{shown_path(str(artifact))} {'has changed' if verification.problems else written}")
    for problem in verification.problems:
        yield Paragraph(problem, 2, "red")
    for name, found_there in misfits.items():
        misfit = found_there[artifact]
        if misfit is None:
            yield Paragraph(f"can run on {plain(name)}", 2)
        else:
            yield Paragraph(f"cannot run on {plain(name)}: {plain(misfit.message)}", 2, "red")
            yield Paragraph(f"hint: {plain(misfit.hint)}", 2)
