"""`edgeopt devices prepare` and `clean`: what edgeopt puts on a device, and takes away again, when it is asked to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeopt.cli.options import Json, complete_backend, complete_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeopt.devices.preparation import Preparation, Prepared
    from edgeopt.devices.workfolder import WorkFolder

Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_device, help="The device.")],
    *,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            autocompletion=complete_backend,
            help="A backend whose artifacts will run there; may be repeated. All that need no TensorFlow if not said.",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Fetch the packages on this machine; for a device without a network."),
    ] = False,
    yes: Yes = False,
    json: Json = None,
) -> None:
    """Install what runners need, into an environment of its own."""
    from contextlib import closing

    from edgeopt.cli.console import check_json, deliver, messages
    from edgeopt.cli.lists import to_json
    from edgeopt.cli.progress import watch
    from edgeopt.devices import remote_device
    from edgeopt.devices.book import LOCAL, find_entry
    from edgeopt.devices.preparation import choose, plan, prepare
    from edgeopt.errors import ExitCode, UsageError

    check_json(json)
    _refuse_emulated(name, "prepare", "install packages here, with pip")
    if name == LOCAL or "://" in name:
        raise UsageError(f"{name} is no device that you named", hint="give it a name: edgeopt devices add NAME URI")
    entry = find_entry(name)
    choose(backend or ())  # a wrong name is said before the device is asked
    with closing(remote_device(entry)) as device:
        with watch(messages()) as progress:
            progress.stage(name, "looking at what is there")
            device.connect()
            planned = plan(entry, device, backend or ())
        for view in _intent(planned, offline=offline):
            messages().print(view)
        confirm(yes=yes)
        with watch(messages()) as progress:
            done = prepare(planned, device, progress.say, offline=offline)
    deliver(to_json(_prepared_document(done)), json, *_outcome(done))
    if done.failed:
        raise typer.Exit(ExitCode.UNAVAILABLE)


def clean(
    name: Annotated[
        str, typer.Argument(metavar="NAME", autocompletion=complete_device, help="The device; an address does too.")
    ],
    *,
    yes: Yes = False,
    json: Json = None,
) -> None:
    """Remove all that edgeopt has put on a device."""
    from contextlib import closing

    from edgeopt.cli.console import check_json, deliver, messages
    from edgeopt.cli.lists import Paragraph, to_json
    from edgeopt.cli.progress import watch
    from edgeopt.devices import transport_to
    from edgeopt.devices.book import LOCAL, find_entry, forget_python
    from edgeopt.devices.workfolder import clean, look
    from edgeopt.errors import UsageError

    check_json(json)
    _refuse_emulated(name, "clean")
    if name == LOCAL:
        raise UsageError("edgeopt has no work folder on this machine", hint="name another device")
    entry = find_entry(name)
    with closing(transport_to(entry)) as transport:
        with watch(messages()) as progress:
            progress.stage(name, "looking at what is there")
            transport.connect()
            found = look(transport)
        document = to_json(_removed_document(name, transport.uri, found))
        if not found.path:
            deliver(document, json, Paragraph(f"There is nothing of edgeopt's on {transport.uri}."))
            return
        messages().print(Paragraph(_contents(found, transport.uri)))
        if not found.strange and not found.holder:
            confirm(yes=yes)
        clean(transport, found)
    forget_python(entry, found.path, found.base)
    deliver(document, json, Paragraph(f"{found.path} is removed."))


def _refuse_emulated(name: str, what: str, hint: str = "") -> None:
    """Refuse an emulated processor: it is this machine.

    Raises:
        UsageError: The name or address is that of one.
    """
    from edgeopt.devices import is_here
    from edgeopt.devices.book import LOCAL
    from edgeopt.errors import UsageError

    if name != LOCAL and is_here(name):
        raise UsageError(f"{name} is this machine with another processor: there is nothing to {what}", hint=hint)


def confirm(*, yes: bool) -> None:
    """Ask whether to go on.

    Raises:
        UsageError: Nobody is there to be asked.
        StoppedError: The answer is no.
    """
    from edgeopt.cli.console import messages
    from edgeopt.errors import StoppedError, UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked, so nothing was done", hint="say it beforehand: --yes")
    messages().print("Go on? [y/N]: ", end="")  # typer.confirm leaves a space on standard output
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise StoppedError("nothing was done")


def _intent(planned: Preparation, *, offline: bool) -> Iterator[RenderableType]:
    """Yield what is going to be done."""
    from edgeopt.cli.lists import Listing, Paragraph

    entry = planned.entry
    yield Paragraph(f"{entry.name} ({entry.uri}), {planned.machine}, Python {planned.python}")
    yield Paragraph(f"gets a virtual environment in {planned.folder}, with what these runners require:")
    yield Listing(tuple((name, ", ".join(texts)) for name, texts in planned.wanted.items()), 2)
    if planned.left_out:
        yield Paragraph(f"Left out: {', '.join(planned.left_out)}; --backend NAME adds one.")
    if offline:
        yield Paragraph("The packages are fetched on this machine and pushed.")
    else:
        yield Paragraph("The device installs them by itself; where it cannot, they are fetched here and pushed.")


def _outcome(done: Prepared) -> Iterator[RenderableType]:
    """Yield what was done."""
    from edgeopt.cli.lists import Listing, Paragraph

    yield Paragraph(f"{done.entry.name} is ready, from {done.source}:")
    yield Listing(tuple(done.versions.items()), 2)
    for name, error in done.failed.items():
        yield Paragraph(f"{name} cannot work there: {error.message}", 0, "red")
        yield Paragraph(f"hint: {error.hint}", 2)
    yield Paragraph(f"Its Python is now {done.entry.python}, in {done.entry.file}")


def _prepared_document(done: Prepared) -> dict[str, Any]:
    """Return what was installed where, as it stands in the JSON document."""
    from edgeopt.cli.lists import entry_document

    return {
        "device": entry_document(done.entry),
        "python": done.entry.python,
        "source": done.source,
        "packages": done.versions,
        "failed": {name: {"message": error.message, "hint": error.hint} for name, error in done.failed.items()},
    }


def _removed_document(name: str, uri: str, found: WorkFolder) -> dict[str, Any]:
    """Return what is removed as it stands in the JSON document; the folder is null where there was none."""
    return {
        "name": name,
        "uri": uri,
        "folder": found.path or None,
        "bytes": found.size_bytes,
        "files": found.names,
    }


def _contents(found: WorkFolder, uri: str) -> str:
    """Return what lies in a work folder, in a sentence."""
    from edgeopt.devices.preparation import FOLDER
    from edgeopt.devices.remote import JOBS
    from edgeopt.devices.store import FILES
    from edgeopt.report.quantities import counted, size

    parts = [counted(found.count(FILES), "pushed folder"), counted(found.count(JOBS), "result")]
    parts += ["a Python environment"] if FOLDER in found.names else []
    return f"{found.path} on {uri} has {size(found.size_bytes)}: {', '.join(parts)}."
