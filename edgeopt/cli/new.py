"""`edgeopt plugins new`: writes a plugin to begin with."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli.options import Json

if TYPE_CHECKING:
    from edgeopt.scaffold.distribution import Distribution


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the backend: lower case with hyphens.")],
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", show_default="here", help="Write the folder edgeopt-NAME into DIR.")
    ] = Path(),
    json: Json = None,
) -> None:
    """Write a new plugin that works: backend, runner, target, tests."""
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import Line, Listing, Paragraph, to_json
    from edgeopt.report.notes import shown_path
    from edgeopt.scaffold.distribution import write_distribution

    check_json(json)
    distribution = write_distribution(name, directory)
    document = _document(distribution)
    head = Paragraph(f"{distribution.names.distribution} is written into {shown_path(str(distribution.folder))}")
    commands = [Line(command, 2) for command in document["next"]]
    files = Listing(tuple(distribution.files.items()), 2)
    deliver(to_json(document), json, head, "", files, "", "Go on with:", "", *commands)


def _document(distribution: Distribution) -> dict[str, Any]:
    """Return what was written as it stands in the JSON document."""
    return {
        "name": distribution.names.backend,
        "distribution": distribution.names.distribution,
        "folder": str(distribution.folder),
        "files": list(distribution.files),
        "next": _next_commands(distribution),
    }


def _next_commands(distribution: Distribution) -> list[str]:
    """Return what an author does next, for the Python that edgeopt itself runs in."""
    from edgeopt.report.notes import shown_path

    python = shlex.quote(shown_path(sys.executable))
    folder = shown_path(str(distribution.folder))
    folder = folder if Path(folder).is_absolute() else f"./{folder}"
    return [
        f"{python} -m pip install -e {shlex.quote(f'{folder}[test]')}",
        f"{python} -m pytest {shlex.quote(folder)}",
        f"{python} -m edgeopt export --target {distribution.names.backend}",
    ]
