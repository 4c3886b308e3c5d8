"""`edgeopt verify`: whether an artifact is still what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeopt.cli.options import Json


def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An artifact, or a folder with several below it.")],
    json: Json = None,
) -> None:
    """Check the files of an artifact against its manifest."""
    from edgeopt.artifact import MANIFEST, verify
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import Paragraph, to_json
    from edgeopt.errors import ExitCode
    from edgeopt.report.notes import shown_path
    from edgeopt.report.quantities import counted

    check_json(json)
    # Without a manifest of its own, PATH may be the folder of a whole run; nothing below it is an error of verify().
    below = [] if (path / MANIFEST).is_file() else sorted(file.parent for file in path.rglob(MANIFEST))
    found = {artifact: verify(artifact) for artifact in below or [path]}
    lines = []
    for artifact, verification in found.items():
        state = (
            "has changed" if verification.problems else f"is as it was written ({counted(verification.files, 'file')})"
        )
        lines += [
            Paragraph(f"{shown_path(str(artifact))} {state}"),
            *(Paragraph(problem, 2, "red") for problem in verification.problems),
        ]
    document = [{"path": str(a), "files": v.files, "problems": list(v.problems)} for a, v in found.items()]
    deliver(to_json(document), json, *lines)
    if any(verification.problems for verification in found.values()):
        raise typer.Exit(ExitCode.BAD_INPUT)
