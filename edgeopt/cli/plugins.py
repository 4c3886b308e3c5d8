"""`edgeopt plugins`: what is installed, and what a plugin's author needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import check, new
from edgeopt.cli.group import Command, Group
from edgeopt.cli.options import Json, complete_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeopt.discovery import Plugin
    from edgeopt.registry import Registry

app = typer.Typer(cls=Group, invoke_without_command=True, rich_markup_mode=None)
app.command("new", cls=Command)(new.new)
app.command("check", cls=Command)(check.check)


@app.callback()
def plugins(context: typer.Context, json: Json = None) -> None:
    """List the plugins, or make, check and prepare one."""
    if context.invoked_subcommand is not None:
        return
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import to_json
    from edgeopt.contract import CONTRACT_VERSION
    from edgeopt.registry import find_backends

    check_json(json)
    registry = find_backends()
    found = [_document(plugin, registry) for plugin in registry.plugins]
    deliver(to_json({"contract": CONTRACT_VERSION, "plugins": found}), json, *_views(found))


@app.command(cls=Command)
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_backend, help="Name of a backend.")],
    json: Json = None,
) -> None:
    """Make the environment of a backend that cannot live beside the others."""
    from edgeopt.cli.console import check_json, deliver, messages
    from edgeopt.cli.lists import Line, to_json
    from edgeopt.cli.progress import watch
    from edgeopt.errors import UsageError
    from edgeopt.registry import find_backends

    check_json(json)
    environment = find_backends().get(name).environment
    if environment is None:
        raise UsageError(f"the backend {name} has no environment of its own", hint="there is nothing to prepare")
    messages().print(Line(f"{name} gets an environment with {', '.join(environment.wanted)}"), crop=False)
    with watch(messages()) as progress:
        environment.prepare(lambda text: progress.stage(name, text))
    document = {
        "name": name,
        "folder": str(environment.folder),
        "python": str(environment.python),
        "packages": environment.versions(),
    }
    deliver(to_json(document), json, Line(f"{name} is ready, in {environment.folder}"))


def _document(plugin: Plugin, registry: Registry) -> dict[str, Any]:
    """Return a plugin as it stands in the JSON document."""
    problems = [reason for broken, reason in registry.broken if broken is plugin]
    backends = [
        {"name": name, "unavailable": registered.why_not(), "environment": list(registered.backend.environment)}
        for name, registered in registry.backends.items()
        if registered.plugin is plugin
    ]
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "contract": plugin.contract,
        "backends": backends,
        "targets": [file.stem for file in plugin.target_files],
        "broken": "; ".join(problems) or None,
    }


def _views(found: list[dict[str, Any]]) -> Iterator[RenderableType]:
    """Yield what to print."""
    from rich.text import Text

    from edgeopt.cli.lists import Listing, Paragraph
    from edgeopt.report.plain import plain

    for plugin in found:
        state, style = _state(plugin)
        origin = f" ({plain(plugin['distribution'])} {plain(plugin['version'])}"
        contract = "" if plugin["contract"] is None else f", contract {plugin['contract']}"
        yield Text.assemble((plain(plugin["name"]), "bold"), f"{origin}{contract}) ", (state, style))
        if plugin["broken"]:
            yield Paragraph(plugin["broken"], 2, "red")
        facts = [("backend", _backend(backend)) for backend in plugin["backends"]]
        facts += [("targets", ", ".join(plugin["targets"]))] if plugin["targets"] else []
        yield Listing(tuple(facts), 2)
    if not found:
        yield "No plugin is loaded."


def _state(plugin: dict[str, Any]) -> tuple[str, str]:
    """Return one word for how a plugin is, and its style."""
    if plugin["broken"]:
        return "broken", "bold red"
    if any(backend["unavailable"] for backend in plugin["backends"]):
        return "not available", "yellow"
    return "ready", "green"


def _backend(backend: dict[str, Any]) -> str:
    """Return a backend's name and, where it cannot work here, why."""
    return backend["name"] if backend["unavailable"] is None else f"{backend['name']}: {backend['unavailable']}"
