"""`edgeopt devices`: which devices have a name, whether they answer, and what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeopt.cli import inspection, upkeep
from edgeopt.cli.group import Command, Group
from edgeopt.cli.options import Json, complete_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from edgeopt.devices.survey import Sighting
    from edgeopt.report.grid import Row

app = typer.Typer(cls=Group, invoke_without_command=True, rich_markup_mode=None)
app.command("check", cls=Command)(inspection.check)
app.command("prepare", cls=Command)(upkeep.prepare)
app.command("clean", cls=Command)(upkeep.clean)

Name: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=complete_device, help="What you call the device.")
]


@app.callback()
def devices(context: typer.Context, json: Json = None) -> None:
    """List the devices, or add, check, prepare or clean one."""
    if context.invoked_subcommand is None:
        _list(json)


@app.command("list", cls=Command)
def list_devices(json: Json = None) -> None:
    """List the devices and ask each what it is, as without a command."""
    _list(json)


@app.command(cls=Command)
def add(  # noqa: PLR0913 - one parameter for each option
    name: Name,
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="Its address: ssh://user@host:port (the host may be an alias), adb://serial or qemu://PROCESSOR.",
        ),
    ],
    *,
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="A private key, where ssh does not find it.")] = "",
    jump: Annotated[str, typer.Option("--jump", metavar="HOST", help="A host to go through, as for ssh -J.")] = "",
    python: Annotated[
        str, typer.Option("--python", metavar="PATH", help="The Python there; python3 if not said.")
    ] = "",
    workdir: Annotated[
        str,
        typer.Option(
            "--workdir", metavar="DIR", help="The folder for edgeopt's files there; ~/.cache/edgeopt if not said."
        ),
    ] = "",
    cores: Annotated[
        str, typer.Option("--cores", metavar="LIST", help="The cores that processes may use there: 4-7, or 0,2.")
    ] = "",
    json: Json = None,
) -> None:
    """Give a device a name, or change what is written down of it."""
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import Line, entry_document, to_json
    from edgeopt.devices import device_of
    from edgeopt.devices.book import KEYS, find_entries, make_entry, save
    from edgeopt.errors import BadInputError, DeviceError, UsageError

    check_json(json)
    values = (uri, str(Path(key).expanduser().absolute()) if key else "", jump, python, workdir, cores)
    try:
        entry = make_entry(name, {key: value for key, value in zip(KEYS, values, strict=True) if value})
        device_of(entry)  # refuses what is not an address
    except (BadInputError, DeviceError) as error:
        raise UsageError(error.message, hint=error.hint) from None
    before = find_entries().get(name)
    saved = save(entry)
    done = "changed" if before is not None and before.is_own else "added"
    views: list[RenderableType] = [Line(f"{name} is {done}, in {saved.file}")]
    if before is not None and not before.is_own:
        views.append("It now comes before the project's device of that name.")
    deliver(to_json(entry_document(saved)), json, *views, Line(f"What is there: edgeopt devices check {name}"))


@app.command(cls=Command)
def remove(name: Name, json: Json = None) -> None:
    """Forget a device; to remove what is on it, clean it first."""
    from edgeopt.cli.console import check_json, deliver
    from edgeopt.cli.lists import Line, to_json
    from edgeopt.devices.book import remove

    check_json(json)
    uri = remove(name).uri
    deliver(to_json({"removed": name, "uri": uri}), json, Line(f"{name} is removed, it was {uri}"))


def _list(json: str | None) -> None:
    from edgeopt.cli.console import check_json, deliver, messages
    from edgeopt.cli.lists import Paragraph, to_json
    from edgeopt.cli.progress import watch
    from edgeopt.devices.book import LOCAL, Entry, find_entries
    from edgeopt.devices.survey import look

    check_json(json)
    entries = [Entry(LOCAL, uri=LOCAL), *find_entries().values()]
    with watch(messages()) as progress:
        if len(entries) > 1:
            progress.stage("devices", f"asking {', '.join(entry.name for entry in entries[1:])}")
        seen = look(entries)
    more: list[RenderableType] = []
    if len(entries) == 1:
        more = ["", Paragraph("No other device has a name yet: edgeopt devices add NAME ssh://user@host adds one.")]
    deliver(to_json([_document(one) for one in seen]), json, _Table(seen), *more)


def _document(seen: Sighting) -> dict[str, Any]:
    """Return a device as it stands in the JSON document."""
    from dataclasses import asdict

    from edgeopt.cli.lists import entry_document

    error = seen.error
    return {
        **entry_document(seen.entry),
        "reachable": seen.is_reachable,
        "error": None if error is None else {"message": error.message, "hint": error.hint},
        "facts": None if seen.facts is None else asdict(seen.facts),
    }


class _Table:
    """The devices as a table; where there is no room for the runtimes beside them, they stand below."""

    def __init__(self, seen: Sequence[Sighting]) -> None:
        self._seen = seen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from edgeopt.report.grid import Cell, Column, Row, fits, lay_out

        columns = [
            *(Column(name, right=False, kept=name != "address") for name in ("name", "address", "reachable")),
            Column("machine", right=False),
            Column("cores"),
            Column("memory"),
        ]
        rows = [self._row(one) for one in self._seen]
        wide = [Row((*row.cells, Cell(_runtimes(one))), row.notes) for row, one in zip(rows, self._seen, strict=True)]
        if fits([*columns, runtimes := Column("runtimes", right=False)], wide, options.max_width):
            yield from lay_out([*columns, runtimes], wide, options.max_width)
            return
        notes = [((_runtimes(one), ""),) if _runtimes(one) else () for one in self._seen]
        below = [Row(row.cells, (*note, *row.notes)) for row, note in zip(rows, notes, strict=True)]
        yield from lay_out(columns, below, options.max_width)

    def _row(self, seen: Sighting) -> Row:
        from edgeopt.report.grid import Cell, Row
        from edgeopt.report.plain import plain
        from edgeopt.report.quantities import memory

        facts = seen.facts
        said = (plain(facts.machine), str(facts.cores), memory(facts.memory_bytes)) if facts else ("", "", "")
        cells = [Cell(plain(seen.entry.name), "bold"), Cell(plain(seen.entry.uri))]
        cells += [Cell("yes", "green") if seen.is_reachable else Cell("no", "red"), *map(Cell, said)]
        return Row(tuple(cells), tuple(_complaint(seen)))


def _runtimes(seen: Sighting) -> str:
    """Return the runtimes of a device in a line."""
    from edgeopt.report.plain import plain

    found = seen.facts.runtimes if seen.facts else {}
    return plain(", ".join(f"{name} {version}" for name, version in found.items()))


def _complaint(seen: Sighting) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a device, and what to do."""
    from edgeopt.report.plain import plain

    if seen.error is not None:
        yield plain(seen.error.message), "red"
        if seen.error.hint:
            yield f"hint: {plain(seen.error.hint)}", ""
