"""`edgeopt backends`: which backends are installed, whether they work here, and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.text import Text

    from edgeopt.discovery import Plugin
    from edgeopt.registry import RegisteredBackend


def backends(json: Json = None) -> None:
    """List the backends, whether they work here, and their options."""
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import to_json
    from edgeopt.registry import find_backends

    check_json(json)
    registry = find_backends()
    found = [_document(registered) for registered in registry.backends.values()]
    broken = [_broken_document(plugin, reason) for plugin, reason in registry.broken]
    deliver(to_json({"backends": found, "broken": broken}), json, *_views(found, broken))


def _document(registered: RegisteredBackend) -> dict[str, Any]:
    """Return a backend as it stands in the JSON document."""
    from edgeopt.options import describe

    backend = registered.backend
    return {
        "name": backend.name,
        "summary": backend.summary,
        "plugin": registered.plugin.distribution,
        "version": registered.plugin.version,
        "unavailable": registered.why_not(),
        "requires": list(backend.requires),
        "environment": list(backend.environment),
        "preferred_devices": list(backend.preferred_devices),
        "options": [
            {"name": o.name, "type": o.type, "default": o.default, "help": o.help, "choices": list(o.choices)}
            for o in describe(backend.Options)
        ],
    }


def _broken_document(plugin: Plugin, reason: str) -> dict[str, Any]:
    return {"name": plugin.name, "plugin": plugin.distribution, "version": plugin.version, "reason": reason}


def _views(found: list[dict[str, Any]], broken: list[dict[str, Any]]) -> Iterator[RenderableType]:
    """Yield what to print."""
    from edgeopt.cli.lists import Listing, Paragraph

    for backend in found:
        why = backend["unavailable"]
        yield _heading(backend, "ready", "green") if why is None else _heading(backend, "not available", "yellow")
        if why is not None:
            yield Paragraph(why, 2, "yellow")
        yield Paragraph(backend["summary"], 2)
        yield Listing(tuple(_option(option) for option in backend["options"]), 2)
        yield ""
    for plugin in broken:
        yield _heading(plugin, "broken", "bold red")
        yield Paragraph(plugin["reason"], 2)
        yield ""
    if any(backend["options"] for backend in found):
        yield Paragraph("Set an option in a target file, or for one run with --set KEY=VALUE.")
    if not found and not broken:
        yield "No backend is installed."


def _heading(plugin: dict[str, Any], state: str, style: str) -> Text:
    """Return the line with the name, where it came from and how it is."""
    from rich.text import Text

    from edgeopt.report.plain import plain

    origin = f" ({plain(plugin['plugin'])} {plain(plugin['version'])}) "
    return Text.assemble((plain(plugin["name"]), "bold"), origin, (state, style))


def _option(option: dict[str, Any]) -> tuple[str, str]:
    """Return an option's name, and its values, default and help in one text."""
    values = " | ".join(option["choices"]) or {"bool": "true | false"}.get(option["type"], option["type"])
    default = str(option["default"]).lower() if isinstance(option["default"], bool) else option["default"]
    return option["name"], f"{values} (default: {default}). {option['help']}"
