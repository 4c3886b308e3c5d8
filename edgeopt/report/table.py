"""Show a run on the terminal: the model and device, the table, the answer, the notes, the folder."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from edgeopt.report import operators, quantities, sustained
from edgeopt.report.grid import lay_out, wrapped
from edgeopt.report.notes import notes, shown_path
from edgeopt.report.plain import plain
from edgeopt.report.reasons import reasons
from edgeopt.report.rows import columns_of, emulator, rows_of
from edgeopt.report.sentences import answer, ranking_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import ConsoleOptions, RenderResult

    from edgeopt.report.grid import Column, Row
    from edgeopt.report.schema import Run

_FORMATS = {"keras": ".keras", "h5": ".h5", "saved_model": "SavedModel"}
DEMO = "the embedded demo"
_OBVIOUS = ("", "the command line", "the program")
"""Origins of a model that are not shown: the user named it."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run that rich can print at any width; `crop=False` keeps long paths whole."""

    run: Run
    document: str = "run.json"
    """Name of the JSON file in the folder of the run."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield from wrapped(head_line(self.run), width, style="bold")
        yield Text()
        yield from lay_out(columns_of(self.run), rows_of(self.run), width)
        yield Text()
        for sentence in answer(self.run):
            yield from wrapped(sentence, width)
        if self.run.ranking is not None:
            yield Text("\nWhich to ship", "bold")
            for line in ranking_lines(self.run.ranking):
                yield from wrapped(line, width, indent=2)
        yield from _section("Where the time goes", operators.tables(self.run, width), reasons(self.run), width)
        yield from _section("Cold and hot", sustained.tables(self.run, width), sustained.sentences(self.run), width)
        if found := notes(self.run):
            yield Text("\nNotes", "bold")
            for note in found:
                yield from wrapped(note, width, indent=2)
        if self.run.folder:
            yield Text()
            yield from wrapped(
                f"Artifacts, logs and {plain(self.document)} are in {shown_path(self.run.folder)}", width
            )


def _section(
    title: str, found: Iterator[tuple[list[Column], list[Row]]], sentences: Sequence[str], width: int
) -> RenderResult:
    """Yield an optional section of the run: its tables, and its sentences."""
    for number, (columns, rows) in enumerate(found):
        yield Text("" if number else f"\n{title}", "bold")
        yield from lay_out(columns, rows, width)
    if sentences:
        yield Text()
        for sentence in sentences:
            yield from wrapped(sentence, width)


def render(run: Run) -> RunView:
    """Return the run as an object that rich can print."""
    return RunView(run)


def as_text(run: Run, width: int | None = None) -> str:
    """Return the run as text without colours, as wide as the terminal or `width`."""
    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(RunView(run), crop=False, highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def head_line(run: Run) -> str:
    """Return the model, the device and the data in one line."""
    model, device = run.model, run.device
    facts = [_FORMATS.get(model.format, plain(model.format)), quantities.size(model.size_bytes)]
    if model.chosen_by not in _OBVIOUS:
        facts.insert(0, f"from {plain(model.chosen_by)}" if model.chosen_by != DEMO else DEMO)
    threads = next((r.latency.threads for r in run.results if r.latency), None)
    what = emulator(run)
    name = str(device.details.get("name", ""))
    address = device.uri if name else ""
    told = [plain(text) for text in (address, what, device.cpu) if text] + [*_cores(run)]
    told += [quantities.counted(threads, "thread")] if threads else []
    place = f" ({', '.join(told)})" if told else ""  # empty for a device that was not reached
    # The times of an emulator must not be mistaken for those of a board.
    where = f"{plain(name or device.uri)}{', an emulated processor' if what else ''}{place}"
    return f"{plain(model.name)} ({', '.join(facts)}) on {where}, {_feeds(run)}"


def _cores(run: Run) -> Iterator[str]:
    """Yield the cores used, if not all were available."""
    details = run.device.details
    if cores := details.get("cores_used"):
        word = "core" if str(cores).isdecimal() else "cores"
        types = details.get("core_types_used")
        yield f"{word} {plain(cores)}" + (f": {plain(types)}" if types else "")


def _feeds(run: Run) -> str:
    evaluation = run.data.evaluation
    if not evaluation.count:  # a profile of artifacts whose reference is missing
        return "without the source's answers"
    if evaluation.source == "noise":
        return quantities.counted(evaluation.count, "feed") + " of noise"
    return quantities.counted(evaluation.count, "labelled feed" if evaluation.labelled else "feed")
