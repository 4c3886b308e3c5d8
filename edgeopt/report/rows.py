"""The table of a run: its columns, and the cells of every result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.report import quantities
from edgeopt.report.grid import Cell, Column, Row
from edgeopt.report.plain import plain
from edgeopt.report.schema import SOURCE_TARGET

if TYPE_CHECKING:
    from edgeopt.report.schema import BudgetLine, Comparison, Result, Run

SURELY_SAME = 1.01
"""If both ends of an interval are within this factor of 1, the difference is not reported."""
ON_NOISE = "calibrated on noise"
NATIVE = "native, not interleaved"
LOUD = "bold yellow"
WRONG = "bold red"
_VERDICTS = {"faster": "green", "slower": "red"}
_MEASURES = {
    "accuracy": ("accuracy", "agrees", "SQNR"),
    "agrees": ("agrees", "SQNR", "cosine"),
    "SQNR": ("SQNR", "cosine", "largest error"),
}
"""Fidelity measures to show, by the best measure of a run."""
_STATUSES = {"ok": "green", "failed": WRONG, "unavailable": "yellow"}


def columns_of(run: Run) -> tuple[Column, ...]:
    """Return the columns, most important first."""
    first, *others = _MEASURES[judged_by(run)]
    latency = "emulated" if emulator(run) else "latency"
    return (
        Column("target", right=False, kept=True),
        Column("", right=False, kept=True),
        *(Column(heading, wanted=True) for heading in ("size", "smaller", latency, "speed-up", first)),
        *map(Column, ("peak", "p90", *others)),
    )


def rows_of(run: Run) -> list[Row]:
    """Return one row for every result, the source model first."""
    return [Row(_cells(run, result), tuple(_notes(run, result))) for result in run.results]


def judged_by(run: Run) -> str:
    """Return the best fidelity measure of this run: `accuracy`, `agrees` (top-1) or `SQNR`."""
    found = [result.fidelity for result in run.results if result.fidelity]
    if any(fidelity.accuracy is not None for fidelity in found):
        return "accuracy"
    return "agrees" if any(fidelity.top1_agreement is not None for fidelity in found) else "SQNR"


def emulator(run: Run) -> str:
    """Return the emulator that runs the device's instructions; empty if none was detected."""
    return str(run.device.details.get("emulated") or run.device.health.get("emulated") or "")


def is_on_noise(run: Run, result: Result) -> bool:
    """Return whether an artifact was calibrated on noise instead of real feeds."""
    artifact = result.artifact
    return run.data.calibration.source == "noise" and artifact is not None and artifact.calibration_feeds > 0


def _cells(run: Run, result: Result) -> tuple[Cell, ...]:
    compared, measures = result.versus_source, _fidelity(run, result)
    first, *others = (Cell(measures.get(name, "")) for name in _MEASURES[judged_by(run)])
    return (
        Cell(plain(result.target), "bold" if result.target != SOURCE_TARGET else ""),
        _status(result),
        Cell(quantities.size(result.artifact.size_bytes) if result.artifact else ""),
        Cell(quantities.ratio(compared.size_ratio) if compared and compared.size_ratio else ""),
        _latency(run, result),
        _speedup(result),
        first,
        Cell(quantities.memory(result.memory.peak_bytes) if result.memory else ""),
        Cell(quantities.seconds(result.latency.p90_s) if result.latency and result.latency.p90_s else ""),
        *others,
    )


def _status(result: Result) -> Cell:
    """Return the status, with a reason beside it if the row has room."""
    style = _STATUSES[result.status]
    if result.error is None:
        return Cell("over budget", WRONG) if result.is_over_budget else Cell(result.status, style)
    if result.artifact or result.latency:
        return Cell(result.status, style)
    return Cell(f"{result.status}: {plain(result.error.message)}", style, short=result.status)


def _latency(run: Run, result: Result) -> Cell:
    if result.latency is not None:
        latency = result.latency
        if latency.ci95_s is None:
            return Cell(quantities.seconds(latency.median_s))
        text = quantities.seconds_within(latency.median_s, latency.ci95_s)
        return Cell(text, brief=text.partition(" ±")[0])
    if result.native is not None:
        return Cell(quantities.seconds(result.native.typical_s))
    if result.status != "ok" or (run.untimed and not emulator(run)):
        return Cell()
    if emulator(run) and result.untimed:
        return Cell("-")  # the first line gives the reason
    return Cell(plain(result.untimed or "not timed"), LOUD, short="-")


def _speedup(result: Result) -> Cell:
    compared = result.versus_source
    if compared is None or compared.speedup is None or compared.speedup_ci95 is None:
        return Cell()
    if compared.verdict in ("same", "unclear"):
        return Cell("same") if is_same(compared) else _unclear(compared)
    text = quantities.ratio_within(compared.speedup, compared.speedup_ci95)
    brief = text.partition(" ±")[0]
    if quantities.is_wide(compared.speedup, compared.speedup_ci95):
        brief = f"~{quantities.ratio(compared.speedup)}"
    return Cell(text, _VERDICTS.get(compared.verdict or "", ""), brief=brief)


def is_same(compared: Comparison) -> bool:
    """Return whether a difference in speed is certainly below 1 %."""
    if compared.verdict != "same" or compared.speedup_ci95 is None:
        return False
    # Documents of older versions use `same` for unclear results too.
    low, high = compared.speedup_ci95
    return compared.within is not None or max(high, 1 / low) <= SURELY_SAME


def _unclear(compared: Comparison) -> Cell:
    bound = quantities.within(compared.within)
    return Cell(f"unclear ({bound})" if bound else "unclear", brief="unclear")


def _fidelity(run: Run, result: Result) -> dict[str, str]:
    """Return the fidelity measures of this result by column heading."""
    fidelity = result.fidelity
    if result.target == SOURCE_TARGET:
        return _source_accuracy(run)
    if fidelity is None:
        return {}
    measures = {} if fidelity.max_abs is None else {"largest error": f"{fidelity.max_abs:.2g}"}
    if fidelity.accuracy is not None:
        measures["accuracy"] = quantities.percent(fidelity.accuracy, fidelity.feeds)
        if fidelity.source_accuracy is not None:
            change = quantities.points(fidelity.accuracy - fidelity.source_accuracy, fidelity.feeds)
            measures["accuracy"] += f" ({change})"
    if fidelity.is_exact:
        return measures | {"agrees": "exact", "SQNR": "exact", "cosine": "exact"}
    if fidelity.top1_agreement is not None:
        measures["agrees"] = quantities.percent(fidelity.top1_agreement, fidelity.feeds)
    if fidelity.sqnr_db is not None:
        measures["SQNR"] = quantities.decibel(fidelity.sqnr_db)
    if fidelity.cosine is not None:
        measures["cosine"] = f"{fidelity.cosine:.4f}"
    return measures


def _source_accuracy(run: Run) -> dict[str, str]:
    """Return the accuracy of the source model, taken from another row."""
    for fidelity in (result.fidelity for result in run.results if result.fidelity):
        if fidelity.source_accuracy is not None:
            return {"accuracy": quantities.percent(fidelity.source_accuracy, fidelity.feeds)}
    return {}


def _notes(run: Run, result: Result) -> list[tuple[str, str]]:
    """Return the notes that must appear in the row itself, not only below the table."""
    notes = []
    if result.error is not None and (result.artifact or result.latency):
        notes.append((plain(result.error.message), WRONG))
    if result.native is not None:
        notes.append((f"! {NATIVE}", LOUD))
    if is_on_noise(run, result):
        notes.append((f"! {ON_NOISE}", LOUD))
    notes += [(f"! over budget: {_limit(line)}", WRONG) for line in result.budget if line.met is False]
    notes += [
        (f"! budget not checked: {plain(line.name)}, since it was not measured", WRONG)
        for line in result.budget
        if line.met is None and result.status == "ok"
    ]
    return notes


def _limit(line: BudgetLine) -> str:
    """Return a limit and the measured value, in the unit at the end of the limit's name."""
    shown = [_quantity(line.name, number) for number in (line.value, line.limit) if number is not None]
    word = "at least" if line.name.startswith("min_") else "at most"
    return f"{plain(line.name)[len('min_') :]} is {shown[0]}, wanted {word} {shown[-1]}"


def _quantity(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return quantities.size(value)
    if name.endswith("_s"):
        return quantities.seconds(value)
    return f"{value:g}"
