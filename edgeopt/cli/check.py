"""`edgeopt plugins check`: the conformance test of a plugin's backends, as a checklist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from edgeopt.registry import RegisteredBackend, Registry
    from edgeopt.testing.suite import Finding

STYLES = {"ok": "green", "failed": "bold red", "skipped": "yellow"}
WIDTH = max(map(len, STYLES))


def complete_plugin(incomplete: str) -> list[str]:
    """Return the names of distributions, plugins and backends that go on from `incomplete`."""
    from edgeopt.registry import find_backends

    return [name for name in _names(find_backends()) if name.startswith(incomplete)]


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="DISTRIBUTION",
            autocompletion=complete_plugin,
            help="An installed distribution; the name of a plugin or of a backend does too.",
        ),
    ],
    min_agreement: Annotated[
        float,
        typer.Option(
            "--min-agreement",
            metavar="SHARE",
            min=0,
            max=1,
            show_default=True,
            help="On which part of the demo's images a backend must give the source's answer.",
        ),
    ] = 0.95,
    varies: Annotated[
        list[str] | None,
        typer.Option("--varies", metavar="FILE", help="A file of the artifact that may differ from export to export."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="CHECK", help="Run this check alone, as the checklist calls it; may be repeated."
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Check whether the backends of a plugin keep the contract; takes minutes."""
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import to_json
    from edgeopt.errors import ExitCode
    from edgeopt.registry import find_backends

    check_json(json)
    chosen = _choose(name, find_backends())
    found = _run(chosen, {"min_agreement": min_agreement, "varies": varies or []}, only or [])
    documents = [_document(backend, found) for backend in chosen]
    deliver(to_json({"checked": name, "backends": documents}), json, *_views(documents))
    if any(finding.outcome == "failed" for finding in found):
        raise typer.Exit(ExitCode.BROKEN_PLUGIN)


def _choose(name: str, registry: Registry) -> list[RegisteredBackend]:
    """Return the backends that are meant.

    Raises:
        UsageError: There is no such distribution, plugin or backend, or it brings no backend.
        PluginError: The plugin is broken.
    """
    from edgeopt.errors import PluginError, UsageError, did_you_mean

    plugins = [plugin for plugin in registry.plugins if plugin.is_called(name)]
    for plugin, reason in registry.broken:
        if plugin in plugins:
            raise PluginError(f"the plugin {plugin.name} of {plugin.origin} is broken: {reason}")
    chosen = [backend for backend in registry.backends.values() if backend.plugin in plugins]
    if chosen:
        return chosen
    if plugins:
        raise UsageError(f"{name} brings no backend", hint="there is nothing to check")
    if name in registry.backends or name in registry.clashes:
        return [registry.get(name)]
    raise UsageError(
        f"no distribution, plugin or backend is called {name!r}", hint=did_you_mean(name, _names(registry))
    )


def _names(registry: Registry) -> list[str]:
    """Return everything that can be checked by name."""
    plugins = {known for plugin in registry.plugins for known in (plugin.distribution, plugin.name)}
    return sorted(plugins | set(registry.backends))


def _run(chosen: Sequence[RegisteredBackend], how: dict[str, Any], only: Sequence[str]) -> list[Finding]:
    """Run the checks, all if none is named, and tell each on standard error as it ends.

    Raises:
        UnavailableError: pytest is not installed.
        UsageError: There is no such check.
    """
    import importlib.util
    import shutil
    from pathlib import Path
    from tempfile import mkdtemp

    from edgeopt.cli.console import messages
    from edgeopt.cli.progress import watch
    from edgeopt.errors import UnavailableError, UsageError, did_you_mean

    if importlib.util.find_spec("pytest") is None:
        hint = "install it: pip install 'edgeopt[testing]'"
        raise UnavailableError("the checks need pytest, which is not installed", hint=hint)
    from edgeopt.testing.checks import check_names
    from edgeopt.testing.suite import LOG, run_suite

    known = check_names()
    for check in only:
        if check not in known:
            raise UsageError(f"no check is called {check!r}", hint=did_you_mean(check, known))
    folder = Path(mkdtemp(prefix="edgeopt-check-"))
    names = [backend.backend.name for backend in chosen]
    with watch(messages()) as progress:
        progress.stage(", ".join(names), "checking")
        found = run_suite(
            names,
            how,
            folder,
            lambda finding: progress.say(f"{finding.backend}: {finding.check}: {finding.outcome}"),
            dict.fromkeys(names, only),
        )
        if any(finding.outcome == "failed" for finding in found):
            progress.say(f"what pytest said is in {folder / LOG}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _document(registered: RegisteredBackend, found: Sequence[Finding]) -> dict[str, Any]:
    """Return what was found of one backend, as it stands in the JSON document."""
    own = [finding for finding in found if finding.backend == registered.backend.name]
    return {
        "name": registered.backend.name,
        "distribution": registered.plugin.distribution,
        "version": registered.plugin.version,
        "failed": sum(finding.outcome == "failed" for finding in own),
        "checks": [
            {
                "check": finding.check,
                "outcome": finding.outcome,
                "reason": finding.reason or None,
                "see": finding.see or None,
                "seconds": finding.seconds,
            }
            for finding in own
        ],
    }


def _views(documents: Sequence[dict[str, Any]]) -> Iterator[RenderableType]:
    """Yield what to print: for each backend its checklist."""
    from rich.text import Text

    from edgeopt.cli.lists import Paragraph
    from edgeopt.report.plain import plain
    from edgeopt.report.quantities import counted

    for document in documents:
        origin = f" ({plain(document['distribution'])} {plain(document['version'])})"
        yield Text.assemble((plain(document["name"]), "bold"), origin)
        for finding in document["checks"]:
            state = (f"  {finding['outcome']:{WIDTH}}  ", STYLES[finding["outcome"]])
            yield Text.assemble(state, plain(finding["check"]), no_wrap=True)
            for line in (finding["reason"] or "").splitlines():
                yield Paragraph(line, WIDTH + 4)
            if finding["see"]:
                yield Paragraph(f"see {finding['see']}", WIDTH + 4)
        total, failed = len(document["checks"]), document["failed"]
        verdict = f"{failed} of them failed" if failed else "none failed"
        yield Text(f"  {counted(total, 'check')}, {verdict}", STYLES["failed" if failed else "ok"])
