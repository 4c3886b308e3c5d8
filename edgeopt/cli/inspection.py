"""`edgeopt devices check`: what a device has, what is missing for each runner, and the command that adds it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli.options import Json, complete_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeopt.devices.survey import Inspection


def check(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", autocompletion=complete_device, help="The device; an address does too."),
    ],
    json: Json = None,
) -> None:
    """Show what a device has, and what it lacks for each backend.

    The exit code is 0 when nothing is missing for one backend at least.
    """
    from contextlib import closing
    from dataclasses import asdict

    from edgeopt.cli.console import check_json, deliver, messages
    from edgeopt.cli.lists import Listing, to_json
    from edgeopt.cli.progress import watch
    from edgeopt.devices import open_device
    from edgeopt.devices.survey import inspect
    from edgeopt.errors import ExitCode

    check_json(json)
    called = name if "://" not in name else "NAME"
    with watch(messages()) as progress:
        progress.stage(name, "looking at what is there")
        with closing(open_device(name)) as device:
            found = inspect(device, called)
    deliver(to_json({"name": name, **asdict(found)}), json, Listing(tuple(_facts(found))), *_views(found, name, called))
    if not any(fit.misfit is None for fit in found.fits):
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield what there is."""
    from edgeopt.report.quantities import counted, memory

    facts, health, given = found.facts, found.health, found.provided
    yield "device", facts.uri
    yield "machine", ", ".join(text for text in (str(facts.details.get("board", "")), facts.machine) if text)
    yield "processor", facts.cpu or "unknown"
    yield "cores", f"{counted(facts.cores, 'core')} for a process"
    free = "" if health.available_bytes is None else f", {memory(health.available_bytes)} free"
    yield "memory", f"{memory(facts.memory_bytes)}{free}"
    yield "system", ", ".join(text for text in (facts.os, str(facts.details.get("libc", ""))) if text)
    where = f" ({_text(given['executable'])})" if given.get("executable") else ""
    yield "python", f"{facts.python}{where}" or "none"
    if health.temperature_c is not None:
        yield "temperature", f"{health.temperature_c:.0f} °C"
    yield from facts.runtimes.items()


def _views(found: Inspection, name: str, called: str) -> Iterator[RenderableType]:
    """Yield what each runner lacks, and what would make numbers doubtful."""
    from edgeopt.cli.lists import Line, Paragraph
    from edgeopt.devices.book import LOCAL

    yield ""
    if not found.facts.python:
        for misfit in {fit.misfit for fit in found.fits if fit.misfit}:  # all lack the same
            yield Paragraph(misfit.reason, 0, "yellow")
            yield Paragraph(misfit.hint, 2)
    for fit in found.fits if found.facts.python else ():
        if fit.misfit is None:
            yield Paragraph(f"{fit.backend}: nothing is missing", 0, "green")
            continue
        yield Paragraph(f"{fit.backend}: {fit.misfit.reason}", 0, "yellow")
        if fit.misfit.missing and name != LOCAL:
            command = f"edgeopt devices prepare {shlex.quote(called)} --backend {fit.backend}"
            yield Line(command, 2)
        else:
            yield Paragraph(fit.misfit.hint, 2)
    if called != name and any(fit.misfit for fit in found.fits):
        yield Paragraph(f"To give it a name first: edgeopt devices add NAME {shlex.quote(name)}")
    for doubt in found.doubts:
        yield Paragraph(f"advice: {doubt}", 0, "yellow")


def _text(value: Any) -> str:
    from edgeopt.errors import one_line

    return one_line(value)
