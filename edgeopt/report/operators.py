"""Time by operator: a table of the slowest operators, one column for every profiled artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from edgeopt.report import quantities
from edgeopt.report.grid import Cell, Column, Row, in_tables
from edgeopt.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeopt.report.schema import Operator, Result, Run

MOST_ROWS = 10
"""Maximum number of operators with their own row; the others share one."""
CLOCK_S = 1e-6
"""Shorter times are shown as `<1 µs`: runtimes count in whole microseconds."""
MIXED = "mixed"
"""Kernel of an operator type whose operators ran in several kernels."""
TOGETHER, LATENCY = "together", "latency"


def profiled(run: Run) -> list[Result]:
    """Return the results with operator times."""
    return [result for result in run.results if result.operators]


def total_s(operators: Sequence[Operator]) -> float:
    """Return the total time of some operators, in seconds."""
    return sum(operator.time_s for operator in operators)


def named(result: Result, name: str) -> list[Operator]:
    """Return the operators of one type, one entry per kernel."""
    return [operator for operator in result.operators if operator.name == name]


def kernel_of(operators: Sequence[Operator]) -> str:
    """Return the kernel of some operators, or `MIXED`."""
    kernels = {operator.kernel for operator in operators}
    return MIXED if len(kernels) > 1 else "".join(kernels)


def duration(time_s: float) -> str:
    """Return a time from a runtime's profiler as text."""
    return quantities.seconds(time_s) if time_s >= CLOCK_S else "<1 µs"


def whole_s(result: Result) -> float:
    """Return the total for shares: the latency, or all operators if they take longer under the profiler."""
    return max(total_s(result.operators), result.latency.median_s if result.latency else 0.0)


def share(time_s: float, of_s: float) -> str:
    """Return a share of a time in whole percent."""
    percent = 100 * time_s / of_s if of_s else 0.0
    return f"{percent:.0f} %" if percent > 0.5 else "<1 %"  # noqa: PLR2004 - less would be rounded to 0


def tables(run: Run, width: int) -> Iterator[tuple[list[Column], list[Row]]]:
    """Yield columns and rows of as few tables as all artifacts fit into; a width of 0 is unlimited."""
    results = profiled(run)
    names = _slowest(results)
    return in_tables(results, lambda some: (_columns(some), _rows(some, names, run)), width)


def _columns(results: Sequence[Result]) -> list[Column]:
    return [Column("operator", right=False, kept=True), *(Column(plain(r.target), wanted=True) for r in results)]


def _slowest(results: Sequence[Result]) -> list[str]:
    """Return the operator types, sorted by their longest time in any artifact."""
    names = dict.fromkeys(operator.name for result in results for operator in result.operators)
    return sorted(names, key=lambda name: -max(total_s(named(result, name)) for result in results))


def _rows(results: Sequence[Result], names: Sequence[str], run: Run) -> list[Row]:
    """Return a row for each of the slowest types, one for the others, and two for totals."""
    names = [name for name in names if any(named(result, name) for result in results)]
    groups = [(plain(name), {name}) for name in names[:MOST_ROWS]]
    if others := set(names[MOST_ROWS:]):
        groups.append((quantities.counted(len(others), "other"), others))
    tell = len({operator.kernel for result in profiled(run) for operator in result.operators}) > 1
    columns = [_cells(result, [group for _, group in groups], tell=tell) for result in results]
    titles = [*(Cell(title) for title, _ in groups), Cell(TOGETHER, "bold"), Cell(LATENCY, "bold")]
    rows = [Row(cells) for cells in zip(titles, *columns, strict=True)]
    return [row for row in rows if any(cell.text for cell in row.cells[1:])]


def _cells(result: Result, groups: Sequence[set[str]], *, tell: bool) -> list[Cell]:
    """Return the cells of one artifact, with times, shares and kernels aligned."""
    lines = []
    for names in groups:
        found = [operator for operator in result.operators if operator.name in names]
        time_s, kernel = total_s(found), plain(kernel_of(found)) if tell else ""
        lines.append((duration(time_s), share(time_s, whole_s(result)), kernel) if found else ("", "", ""))
    lines.append((duration(total_s(result.operators)), "", ""))
    lines.append((quantities.seconds(result.latency.median_s) if result.latency else "", "", ""))
    widths = [max(map(cell_len, texts)) for texts in zip(*lines, strict=True)]
    cells = []
    for texts in lines:
        end = f"  {texts[2]:{widths[2]}}" if widths[2] else ""
        text = f"{texts[0]:>{widths[0]}}  {texts[1]:>{widths[1]}}{end}" if texts[0] else ""
        cells.append(Cell(text, brief=f"{texts[0]}{end}" if texts[0] else ""))
    return cells
