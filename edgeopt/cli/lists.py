"""What the listing commands print: paragraphs, and names with a text beside each that wraps in its own column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from edgeopt.report.document import to_json
from edgeopt.report.grid import GAP, wrapped
from edgeopt.report.plain import plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from edgeopt.devices.book import Entry

__all__ = ["Line", "Listing", "Paragraph", "entry_document", "to_json"]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text that wraps between words; every line of it is indented."""

    text: str
    indent: int = 0
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from wrapped(plain(self.text), options.max_width, indent=self.indent, style=self.style)


@dataclass(frozen=True, slots=True)
class Line:
    """A text that stays one line, however narrow the terminal is: a command or a path, to be copied."""

    text: str
    indent: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"{' ' * self.indent}{plain(self.text)}", no_wrap=True, overflow="ignore")


@dataclass(frozen=True, slots=True)
class Listing:
    """Names, and beside each a text that wraps in its own column."""

    pairs: tuple[tuple[str, str], ...]
    indent: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        edge = self.indent + max((cell_len(plain(name)) for name, _ in self.pairs), default=0) + GAP
        for name, text in self.pairs:
            for i, line in enumerate(wrapped(plain(text), options.max_width, indent=edge)):
                if i:
                    yield line
                    continue
                head = Text.assemble(" " * self.indent, (plain(name), "bold"), no_wrap=True, overflow="ignore")
                head.append(line[head.cell_len :])
                head.rstrip()
                yield head


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return what is written down of a device, as it stands in the JSON documents."""
    return {
        "name": entry.name,
        "uri": entry.uri,
        "settings": {key: value for key, value in entry.settings.items() if key != "uri"},
        "file": str(entry.file) if entry.file else None,
        "own": entry.is_own,
    }
