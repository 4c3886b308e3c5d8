"""`edgeopt targets`: which goals there are, and what each of them asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli.group import Command, Group
from edgeopt.cli.options import Json, TargetsDirs, complete_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeopt.targets import Target

app = typer.Typer(cls=Group, invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def targets(context: typer.Context, targets_dir: TargetsDirs = None, json: Json = None) -> None:
    """List the targets, or show one of them."""
    if context.invoked_subcommand is not None:
        return
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import Listing, Paragraph, to_json
    from edgeopt.pipeline.plan import checked
    from edgeopt.targets import find_targets

    check_json(json)
    found = {name: checked(target) for name, target in find_targets(more=targets_dir or ()).items()}
    listing = Listing(tuple((name, _in_a_line(target)) for name, target in found.items()))
    more = Paragraph("edgeopt targets show NAME tells more about one; a file targets/NAME.toml here adds one.")
    deliver(to_json([_document(target) for target in found.values()]), json, listing, "", more)


@app.command(cls=Command)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_target, help="Name of a target.")],
    targets_dir: TargetsDirs = None,
    json: Json = None,
) -> None:
    """Show one target: its backend, its options, its budget and its file."""
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import Listing, to_json
    from edgeopt.targets import find_targets, get_target

    check_json(json)
    target = get_target(name, find_targets(more=targets_dir or ()))
    deliver(to_json(_document(target)), json, Listing(tuple(_facts(target))))


def _in_a_line(target: Target) -> str:
    """Return what a list says of a target."""
    return target.summary if target.problem is None else f"cannot be used: {target.problem.message}"


def _document(target: Target) -> dict[str, Any]:
    """Return a target as it stands in the JSON document."""
    return {
        "name": target.name,
        "summary": target.summary,
        "backend": target.backend,
        "options": dict(target.options),
        "budget": dict(target.budget),
        "device": target.device,
        "path": str(target.path) if target.path else None,
        "problem": None if target.problem is None else target.problem.message,
    }


def _facts(target: Target) -> Iterator[tuple[str, str]]:
    """Yield what there is to know of a target."""
    yield "target", target.name
    yield "summary", target.summary
    yield "backend", target.backend
    for kind, values in (("option", target.options), ("budget", target.budget)):
        for key, value in values.items():
            yield kind, f"{key} = {str(value).lower() if isinstance(value, bool) else value}"
    if target.device:
        yield "device", target.device
    if target.path:
        yield "file", str(target.path)
