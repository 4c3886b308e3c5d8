"""Where the time goes: a table of the slowest operators, one column for every artifact that has told them."""

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
"""How many operators have a row of their own; the others share one."""
CLOCK_S = 1e-6
"""What is shorter is only told to be so: runtimes count in whole microseconds."""
MIXED = "mixed"
"""In the place of the kernel where some operators of one type ran in one and some in another."""
TOGETHER, LATENCY = "together", "latency"


def profiled(run: Run) -> list[Result]:
    """Return the results that have told their operators."""
    return [result for result in run.results if result.operators]


def total_s(operators: Sequence[Operator]) -> float:
    """Return what some operators take together."""
    return sum(operator.time_s for operator in operators)


def named(result: Result, name: str) -> list[Operator]:
    """Return the operators of one type, one for each kernel that ran some of them."""
    return [operator for operator in result.operators if operator.name == name]


def kernel_of(operators: Sequence[Operator]) -> str:
    """Return who ran some operators."""
    kernels = {operator.kernel for operator in operators}
    return MIXED if len(kernels) > 1 else "".join(kernels)


def duration(time_s: float) -> str:
    """Return a time that a runtime's profiler told."""
    return quantities.seconds(time_s) if time_s >= CLOCK_S else "<1 µs"


def whole_s(result: Result) -> float:
    """Return what parts are parts of: the latency, or all operators where these take longer under the profiler."""
    return max(total_s(result.operators), result.latency.median_s if result.latency else 0.0)


def share(time_s: float, of_s: float) -> str:
    """Return a part of a time in whole percent."""
    percent = 100 * time_s / of_s if of_s else 0.0
    return f"{percent:.0f} %" if percent > 0.5 else "<1 %"  # noqa: PLR2004 - less would be rounded to 0


def tables(run: Run, width: int) -> Iterator[tuple[list[Column], list[Row]]]:
    """Yield columns and rows of as few tables as have room for every artifact; width does not count where it is 0."""
    results = profiled(run)
    names = _slowest(results)
    return in_tables(results, lambda some: (_columns(some), _rows(some, names, run)), width)


def _columns(results: Sequence[Result]) -> list[Column]:
    return [Column("operator", right=False, kept=True), *(Column(plain(r.target), wanted=True) for r in results)]


def _slowest(results: Sequence[Result]) -> list[str]:
    """Return the types of operators, the slowest of any artifact first."""
    names = dict.fromkeys(operator.name for result in results for operator in result.operators)
    return sorted(names, key=lambda name: -max(total_s(named(result, name)) for result in results))


def _rows(results: Sequence[Result], names: Sequence[str], run: Run) -> list[Row]:
    """Return a row for each of the slowest types, one for the others, and two for the whole."""
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
    """Return the cells of one artifact, with times, shares and kernels below each other."""
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
