"""Cold and hot: a table of the sustained runs, and sentences on the fastest artifact at both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.report import quantities
from edgeopt.report.grid import Cell, Column, Row, in_tables
from edgeopt.report.plain import plain
from edgeopt.report.sentences import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeopt.report.schema import Result, Run, Sustained

MOST_ROWS = 12
"""Maximum number of parts with a row; of more, the first, the last and some in between."""
MINUTE_S = 60.0
STEADY = 1.03
"""Parts within this factor of each other, with their intervals, count as unchanged."""
WARMER_C = 2.5
"""Maximum difference of start temperatures without a report; a rest ends at 2 °C, and sensors round."""


def tables(run: Run, width: int) -> Iterator[tuple[list[Column], list[Row]]]:
    """Yield columns and rows of as few tables as all artifacts fit into; a width of 0 is unlimited."""
    return in_tables(_lasting(run), _table, width)


def sentences(run: Run) -> list[str]:
    """Return sentences on the method, the fastest artifacts cold and hot, the changes, and doubts."""
    found = _lasting(run)
    if not found:
        return []
    return [_how(found), *_winners(found), _changes(found), *_doubts(found, run.device.health)]


def _lasting(run: Run) -> list[tuple[Result, Sustained]]:
    """Return the results with a sustained run, each with that run."""
    return [(result, result.sustained) for result in run.results if result.sustained is not None]


def _table(found: Sequence[tuple[Result, Sustained]]) -> tuple[list[Column], list[Row]]:
    columns = [
        Column(_part(found[0][1]), right=False, kept=True),
        *(Column(plain(result.target), wanted=True) for result, _ in found),
    ]
    rows = [
        _row(str(number + 1), [_time(ran.medians_s[number]) for _, ran in found])
        for number in _shown(len(found[0][1].medians_s))
    ]
    rows.append(_row("change", [_change(ran) for _, ran in found], "bold"))
    if any(_temperatures(ran) for _, ran in found):
        rows.append(_row("temperature", [_celsius(ran) for _, ran in found]))
    return columns, rows


def _row(title: str, texts: Sequence[str], style: str = "") -> Row:
    return Row((Cell(title, style), *(Cell(text, style) for text in texts)))


def _part(ran: Sustained) -> str:
    """Return the name of a part: `minute`, or `10 s part`."""
    return "minute" if ran.part_s == MINUTE_S else f"{ran.part_s:g} s part"


def _shown(count: int) -> list[int]:
    """Return the indices of the parts with a row."""
    if count <= MOST_ROWS:
        return list(range(count))
    return [round(place * (count - 1) / (MOST_ROWS - 1)) for place in range(MOST_ROWS)]


def _time(median_s: float | None) -> str:
    return "-" if median_s is None else quantities.seconds(median_s)


def _change(ran: Sustained) -> str:
    if ran.slowdown is None or ran.verdict is None:
        return "-"
    return ran.verdict if ran.verdict in ("same", "unclear") else f"{100 * (ran.slowdown - 1):+.0f} %"


def _temperatures(ran: Sustained) -> tuple[float, float] | None:
    """Return the device temperature before and after, in °C; None if not reported."""
    before, after = ran.health.get("temperature_c") or (None, None)
    return None if before is None or after is None else (before, after)


def _celsius(ran: Sustained) -> str:
    both = _temperatures(ran)
    return f"{both[0]:.0f} to {both[1]:.0f} °C" if both else ""


def _how(found: Sequence[tuple[Result, Sustained]]) -> str:
    """Return how it was measured, and whether all started equally warm."""
    ran = found[0][1]
    last = f"cold is the first {_part(ran)}, hot the last"
    if len(found) == 1:
        return f"It ran alone for {quantities.time_span(ran.seconds)}; {last}."
    text = f"Each ran alone for {quantities.time_span(ran.seconds)}, with a rest before it; {last}."
    begins = {plain(result.target): both[0] for result, ran in found if (both := _temperatures(ran))}
    if len(begins) < len(found):
        return f"{text} The device tells no temperature, so whether all began alike is not known."
    coolest, warmest = min(begins, key=lambda name: begins[name]), max(begins, key=lambda name: begins[name])
    if begins[warmest] - begins[coolest] <= WARMER_C:
        return text
    return (
        f"{text} They did not begin alike: {warmest} at {begins[warmest]:.0f} °C, {coolest} at"
        f" {begins[coolest]:.0f} °C."
    )


def _winners(found: Sequence[tuple[Result, Sustained]]) -> Iterator[str]:
    """Yield the fastest artifacts, cold and hot; nothing for a single artifact."""
    if len(found) == 1:
        return
    cold = {plain(result.target): ran.medians_s[0] for result, ran in found if ran.fastest_cold}
    hot = {plain(result.target): ran.medians_s[-1] for result, ran in found if ran.fastest_hot}
    if len(cold) == 1 and cold.keys() == hot.keys():
        (name,) = cold
        yield f"{name} is the fastest, cold ({_time(cold[name])}) and hot ({_time(hot[name])})."
        return
    for word, best in (("Cold", cold), ("Hot", hot)):
        names = [f"{name} ({_time(median_s)})" for name, median_s in best.items()]
        if not names:
            yield f"{word}, the fastest is not known."
        elif len(names) == 1:
            yield f"{word}, {names[0]} is the fastest."
        else:
            yield f"{word}, {listed(names)} are the fastest, and cannot be told apart."


def _changes(found: Sequence[tuple[Result, Sustained]]) -> str:
    """Return the change of each artifact in its sustained run."""
    texts, kept = [], []
    for result, ran in found:
        name = plain(result.target)
        if ran.slowdown is None:
            texts.append(f"{name} did not come to its end")
        elif ran.verdict is None:
            texts.append(f"whether {name} changed is not known, since it ran too seldom for an interval")
        elif ran.verdict in ("faster", "slower"):
            texts.append(f"{name} became {abs(100 * (ran.slowdown - 1)):.0f} % {ran.verdict}")
        elif (spread := _spread(ran)) <= STEADY:
            kept.append(name)
        else:
            texts.append(f"of {name} no change larger than the {100 * (spread - 1):.0f} % that came and went was seen")
    if kept:
        texts.append(f"{listed(kept)} stayed as fast as at first")
    text = "; ".join(texts)
    return f"{text}."


def _spread(ran: Sustained) -> float:
    """Return the ratio of the slowest to the fastest part, including their intervals."""
    ends = [
        ci95_s or (median_s, median_s) for median_s, ci95_s in zip(ran.medians_s, ran.ci95_s, strict=True) if median_s
    ]
    return max(high for _, high in ends) / min(low for low, _ in ends)


def _doubts(found: Sequence[tuple[Result, Sustained]], health: Mapping[str, Any]) -> Iterator[str]:
    """Yield the device's doubts about each sustained run, except those in the notes on the whole run.

    Hints are left out: they are to cool the device, but here its heat is intended.
    """
    names: dict[str, list[str]] = {}
    for result, ran in found:
        for doubt in ran.health.get("doubts", ()):
            if doubt not in health.get("doubts", ()):
                names.setdefault(plain(doubt).partition("; ")[0], []).append(plain(result.target))
    for what, around in names.items():
        yield f"Around {listed(around)}: {what}."
