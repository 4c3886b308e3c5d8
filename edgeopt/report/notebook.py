"""Show a run in a notebook as HTML, with the same columns, sentences and notes as on the terminal."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeopt.report import operators, sustained
from edgeopt.report.notes import notes, shown_path
from edgeopt.report.reasons import reasons
from edgeopt.report.rows import columns_of, rows_of
from edgeopt.report.sentences import answer, ranking_lines
from edgeopt.report.table import head_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeopt.report.grid import Column, Row
    from edgeopt.report.schema import Run


def as_html(run: Run) -> str:
    """Return the run as one HTML fragment; all external text is escaped."""
    columns, rows = columns_of(run), rows_of(run)
    used = [i for i, column in enumerate(columns) if column.kept or any(row.cells[i].text for row in rows)]
    parts = [
        f"<p><strong>{escape(head_line(run))}</strong></p>",
        "<table>",
        _line("th", [columns[i] for i in used], [escape(columns[i].heading) for i in used]),
        *(line for row in rows for line in _row(columns, row, used)),
        "</table>",
        *(f"<p>{escape(sentence)}</p>" for sentence in answer(run)),
    ]
    if run.ranking is not None:
        parts += ["<p><strong>Which to ship</strong></p>", *_list(ranking_lines(run.ranking))]
    parts += _section("Where the time goes", operators.tables(run, 0), reasons(run))
    parts += _section("Cold and hot", sustained.tables(run, 0), sustained.sentences(run))
    if found := notes(run):
        parts += _list(found)
    if run.folder:
        parts.append(f"<p>Artifacts, logs and run.json are in <code>{escape(shown_path(run.folder))}</code></p>")
    return "\n".join(parts)


def _section(title: str, found: Iterator[tuple[list[Column], list[Row]]], sentences: Sequence[str]) -> list[str]:
    """Return an optional section of the run: its tables, and its sentences."""
    parts = []
    for columns, rows in found:
        every = range(len(columns))
        parts += [f"<p><strong>{escape(title)}</strong></p>", "<table>"]
        parts += [_line("th", columns, [escape(column.heading) for column in columns])]
        parts += [*(line for row in rows for line in _row(columns, row, every)), "</table>"]
    return parts + [f"<p>{escape(sentence)}</p>" for sentence in sentences]


def _list(lines: Sequence[str]) -> list[str]:
    return ["<ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"]


def _row(columns: Sequence[Column], row: Row, used: Sequence[int]) -> Iterator[str]:
    yield _line("td", [columns[i] for i in used], [escape(row.cells[i].text) for i in used])
    for text, _ in row.notes:
        yield f'<tr><td colspan="{len(used)}" style="text-align: left"><strong>{escape(text)}</strong></td></tr>'


def _line(tag: str, columns: Sequence[Column], texts: Sequence[str]) -> str:
    cells = (
        f'<{tag} style="text-align: {"right" if column.right else "left"}">{text}</{tag}>'
        for column, text in zip(columns, texts, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"
