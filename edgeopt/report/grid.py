"""Lay out rows in columns for a width: shorten figures first, then drop columns from the right.

Unlike in a general table, a text may extend over empty cells to its right, a row may have its own notes below it, some
columns are never dropped, and a long word (a path) is never broken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
GAP = 2
NOTE_INDENT = 2
_WORD = re.compile(r"\S+(?:(?<=\d) (?:%|[kMG]?B|dB|[mµ]?s)(?!\w)\S*)?")
"""A word, or a number with its unit, which must stay on the same line."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column; never dropped if `kept`; others are shortened to make room for it if `wanted`."""

    heading: str
    right: bool = True
    kept: bool = False
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of one row; `brief` is a shorter form of the text.

    With `short`, the text may extend over empty cells to its right; if it does not fit, `short` replaces it and the
    text becomes a note below the row.
    """

    text: str = ""
    style: str = ""
    brief: str | None = None
    short: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Cells, one per column, and notes to show below them, each a text and a style."""

    cells: tuple[Cell, ...]
    notes: tuple[tuple[str, str], ...] = ()


def lay_out(columns: Sequence[Column], rows: Sequence[Row], width: int) -> Iterator[Text]:
    """Yield the lines of the table: the heading, then each row with its notes."""
    used = [i for i, column in enumerate(columns) if column.kept or any(row.cells[i].text for row in rows)]
    columns = [columns[i] for i in used]
    rows = _brief_enough(columns, [Row(tuple(row.cells[i] for i in used), row.notes) for row in rows], width)
    widths = _widths(columns, rows)
    count = _fitting(columns, widths, width)
    columns, widths = columns[:count], widths[:count]
    yield _line(columns, widths, [Cell(column.heading, "bold") for column in columns], width)[0]
    for row in rows:
        line, moved = _line(columns, widths, row.cells[:count], width)
        yield line
        for text, style in (*moved, *row.notes):
            yield from wrapped(text, width, indent=NOTE_INDENT, style=style)


def fits(columns: Sequence[Column], rows: Sequence[Row], width: int) -> bool:
    """Return whether all columns fit into `width`, with figures shortened if needed."""
    brief = _brief_enough(columns, list(rows), width)
    return _fitting(columns, _widths(columns, brief), width) == len(columns)


def in_tables(
    items: Sequence[T], make: Callable[[Sequence[T]], tuple[list[Column], list[Row]]], width: int
) -> Iterator[tuple[list[Column], list[Row]]]:
    """Yield columns and rows of as few tables as all items fit into.

    Args:
        items: Items with one column each.
        make: Makes the table of some items.
        width: Maximum width; 0 is unlimited.
    """
    while items:
        count = len(items)
        while True:
            columns, rows = make(items[:count])
            if count == 1 or not width or fits(columns, rows, width):
                break
            count -= 1
        yield columns, rows
        items = items[count:]


def wrapped(text: str, width: int, *, indent: int = 0, style: str = "") -> Iterator[Text]:
    """Yield `text` in lines of at most `width`, broken between words only: a split path cannot be copied."""
    line = ""
    for word in _WORD.findall(text):
        if line and indent + cell_len(f"{line} {word}") > width:
            yield _unbroken(" " * indent, (line, style))
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield _unbroken(" " * indent, (line, style))


def _unbroken(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ignore")


def _brief_enough(columns: Sequence[Column], rows: list[Row], width: int) -> list[Row]:
    """Return the rows with columns shortened, from the right, until the wanted columns fit."""
    wanted = max((i + 1 for i, column in enumerate(columns) if column.kept or column.wanted), default=0)
    for index in reversed(range(len(columns))):
        if _fitting(columns, _widths(columns, rows), width) >= wanted:
            break
        rows = [
            replace(row, cells=tuple(_brief(c) if i == index else c for i, c in enumerate(row.cells))) for row in rows
        ]
    return rows


def _brief(cell: Cell) -> Cell:
    return cell if cell.brief is None else replace(cell, text=cell.brief)


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    """Return the width of every column; a text that extends beyond its column does not count."""
    widths = [cell_len(column.heading) for column in columns]
    for row in rows:
        for index, cell in enumerate(row.cells):
            if cell.short is None:
                widths[index] = max(widths[index], cell_len(cell.text))
            elif _room_cells(row.cells, index) == 1:
                widths[index] = max(widths[index], cell_len(cell.short))
    return widths


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> int:
    """Return the number of columns, from the left, that fit into `width`."""
    kept = max((i + 1 for i, column in enumerate(columns) if column.kept), default=0)
    count = len(columns)
    while count > kept and sum(widths[:count]) + GAP * (count - 1) > width:
        count -= 1
    return count


def _room_cells(cells: Sequence[Cell], index: int) -> int:
    """Return the number of cells for a text at `index`: its own and the empty ones that follow."""
    after = (i for i in range(index + 1, len(cells)) if cells[i].text)
    return next(after, len(cells)) - index


def _line(
    columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Cell], width: int
) -> tuple[Text, list[tuple[str, str]]]:
    """Return one row as text, and the notes that had to move below it."""
    line, moved = _unbroken(), []
    index = 0
    while index < len(cells):
        cell, span = cells[index], 1
        start = sum(widths[:index]) + GAP * index
        text = cell.text
        if cell.short is not None:
            span = _room_cells(cells, index)
            at_end = index + span == len(cells)
            room = width - start if at_end else sum(widths[index : index + span]) + GAP * (span - 1)
            if cell_len(text) > room:
                moved.append((text.removeprefix(f"{cell.short}: "), cell.style))
                text = cell.short
        line.append(" " * (start - line.cell_len))
        runs_over = cell.short is not None and text == cell.text
        if columns[index].right and not runs_over:
            line.append(" " * (widths[index] - cell_len(text)))
        line.append(text, cell.style)
        index += span
    line.rstrip()
    return line, moved
