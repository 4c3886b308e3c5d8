"""`edgeopt doctor`: what is here, what is missing, and the command that adds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edgeopt.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeopt.environment import Environment


def doctor(json: Json = None) -> None:
    """Show what is installed here and what is missing."""
    from dataclasses import asdict

    from edgeopt.cli.console import check_json, deliver, messages
    from edgeopt.cli.lists import Listing, to_json
    from edgeopt.cli.progress import watch
    from edgeopt.environment import examine

    check_json(json)
    with watch(messages()) as progress:
        progress.stage("doctor", "asking TensorFlow for GPUs")
        environment = examine()
    deliver(to_json(asdict(environment)), json, Listing(tuple(_facts(environment))), *_findings(environment))
    if code := max((finding.code for finding in environment.findings), default=0):
        raise typer.Exit(code)


def _facts(environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield what there is."""
    from edgeopt.report.quantities import counted, size

    facts, health, gpus = environment.facts, environment.health, environment.gpus
    yield "edgeopt", environment.edgeopt
    yield "python", f"{facts.python} ({environment.executable})"
    for package in environment.packages:
        yield package.name, package.version or "not installed"
    yield "system", f"{facts.os}, {facts.machine}"
    yield "processor", facts.cpu
    yield "cores", f"{counted(facts.cores, 'core')} for this process"
    yield "caches", ", ".join(environment.cpu_caches) or "unknown"
    yield "governor", health.governor or "not readable here"
    if health.temperature_c is not None:
        yield "temperature", f"{health.temperature_c:.0f} °C"
    yield "memory", size(facts.memory_bytes)
    yield "GPUs", ", ".join(gpus.tensorflow) or gpus.problem or "TensorFlow sees none"
    for folder in environment.folders:
        used = "" if folder.used_bytes is None else f"{size(folder.used_bytes)} in use, "
        yield "disk", f"{folder.purpose}: {folder.path} ({used}{size(folder.free_bytes)} free)"


def _findings(environment: Environment) -> Iterator[RenderableType]:
    """Yield what is missing, and what to do about it."""
    from rich.text import Text

    from edgeopt.cli.lists import Paragraph

    yield ""
    if not environment.findings:
        yield "Nothing is missing."
    for finding in environment.findings:
        word, style = ("problem", "red") if finding.code else ("advice", "yellow")
        yield Paragraph(f"{word}: {finding.text}", 0, style)
        if finding.command:
            yield Text(f"  {finding.command}", no_wrap=True, overflow="ignore")
