"""The answer in a sentence: an artifact compared with the source model in time, size and fidelity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeopt.report import quantities
from edgeopt.report.plain import plain
from edgeopt.report.rows import emulator, is_same
from edgeopt.report.schema import SOURCE_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeopt.report.schema import Comparison, Fidelity, Ranking, Result, Run

CLEARLY = 1.005
"""Sizes within this factor of each other are called the same."""
UNDECIDED = "which is the fastest is not known: that takes two launches in which all are timed side by side"
"""Reason why none of the artifacts that could be shipped is the best."""


def answer(run: Run) -> list[str]:
    """Return the result of the run: the fastest artifact, and the smallest if it is another one."""
    made = [r for r in run.results if r.status == "ok" and r.target != SOURCE_TARGET and r.versus_source]
    good = [result for result in made if not result.is_over_budget]
    if not good:
        return ["No artifact is within its budget." if made else "No artifact to ship came out of this run."]
    smallest = max(good, key=_size_ratio)
    best = next((result for result in run.results if run.ranking and result.target == run.ranking.best), None)
    if best is not None:
        is_source = best.target == SOURCE_TARGET
        sentences, first = ["The source model itself is the best one to ship here."] if is_source else [], best
    elif faster := [result for result in good if _verdict(result) == "faster"]:
        sentences, first = [], max(faster, key=_speedup)
    else:
        sentences, first = [*_none_faster(good, is_all=len(good) == len(made))], smallest
    if first.target != SOURCE_TARGET:
        sentences.append(sentence(run, first))
    if _size_ratio(smallest) > (_size_ratio(first) or 1.0) * CLEARLY:
        sentences.append(sentence(run, smallest))
    return sentences


def ranking_lines(ranking: Ranking) -> list[str]:
    """Return the artifact to ship, the bound, and the reason against each other one."""
    asked = []
    if ranking.min_top1_agreement is not None:
        asked.append(f"gives the source's answer on at least {100 * ranking.min_top1_agreement:g} % of the feeds")
    if ranking.min_sqnr_db is not None:
        asked.append(f"has an SQNR of at least {ranking.min_sqnr_db:g} dB")
    bound = " and ".join(asked)
    if any(ranked.reason == UNDECIDED for ranked in ranking.order):
        lines = [f"None yet: more than one {bound}."]
    elif ranking.best is None:
        lines = [f"None: no artifact was timed and {bound}."]
    elif any(ranked.verdict == "unclear" for ranked in ranking.order):
        lines = [f"{plain(ranking.best)}: no artifact that {bound} is measurably faster here."]
    else:
        lines = [f"{plain(ranking.best)}: the fastest here that {bound}."]
    return lines + [f"not {plain(ranked.target)}: {plain(ranked.reason)}" for ranked in ranking.order if ranked.reason]


def sentence(run: Run, result: Result) -> str:
    """Return the comparison of one artifact with the source model."""
    compared = result.versus_source
    name = plain(result.target)
    facts = [*([] if run.untimed or (emulator(run) and result.untimed) else _speed(compared, result)), *_size(compared)]
    text = f"{name} is {_joined(facts)}" if facts else name
    if result.fidelity is None:
        return f"{text}."
    return f"{text}{',' if len(facts) > 1 else ''} and {_outputs(run, result.fidelity)}."


def listed(texts: Sequence[str]) -> str:
    """Return texts joined as in a sentence: `a, b and c`."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _none_faster(good: Sequence[Result], *, is_all: bool) -> Iterator[str]:
    """Yield that none of several artifacts is faster than the source, if all timed ones have a verdict."""
    timed = [result for result in good if _speedup(result)]
    if len(good) > 1 and timed and all(_verdict(result) for result in timed):
        yield f"No artifact {'' if is_all else 'within its budget '}is measurably faster than the source here."


def _speed(compared: Comparison | None, result: Result) -> list[str]:
    """Return the speed relative to the source, with its interval."""
    if compared is None or compared.speedup is None or compared.speedup_ci95 is None:
        return [f"not timed here ({plain(result.untimed)})"] if result.untimed else []
    low, high = compared.speedup_ci95
    if is_same(compared):
        return ["as fast as the source"]
    if compared.verdict in ("same", "unclear"):
        bound = quantities.within(compared.within) or f"{low:.2f}x to {high:.2f}x"
        return [f"not measurably faster or slower than the source ({bound})"]
    if compared.verdict == "slower":
        number, interval = quantities.ratio_range(1 / compared.speedup, (1 / high, 1 / low))
        return [f"{number} slower ({interval}) than the source"]
    number, interval = quantities.ratio_range(compared.speedup, (low, high))
    if quantities.is_wide(compared.speedup, (low, high)):
        return [f"{quantities.ratio(low)} to {quantities.ratio(high)} faster than the source"]
    return [f"{number} faster ({interval}) than the source"]


def _size(compared: Comparison | None) -> list[str]:
    """Return the size relative to the source."""
    if compared is None or not compared.size_ratio:
        return []
    if compared.size_ratio >= CLEARLY:
        return [f"{quantities.ratio(compared.size_ratio)} smaller"]
    if compared.size_ratio <= 1 / CLEARLY:
        return [f"{quantities.ratio(1 / compared.size_ratio)} bigger"]
    return ["of the same size"]


def _joined(facts: list[str]) -> str:
    """Join the facts; "than the source" follows two comparisons."""
    than = " than the source"
    if len(facts) > 1 and facts[0].endswith(than) and not facts[1].startswith("of"):
        return f"{facts[0].removesuffix(than)} and {facts[1]}{than}"
    return " and ".join(facts)


def _outputs(run: Run, fidelity: Fidelity) -> str:
    """Return the fidelity of the outputs, as the end of a sentence."""
    # A feed holds several samples when the batch is larger than 1.
    on = quantities.counted(fidelity.feeds, "feed" if fidelity.feeds == run.data.evaluation.count else "sample")
    if run.data.evaluation.source == "noise":
        on += " of noise"
    if fidelity.is_exact:
        return f"gives exactly the same outputs on {on}"
    text = _agreement(fidelity, on)
    if fidelity.accuracy is not None and fidelity.source_accuracy is not None:
        accuracy, source = (
            quantities.percent(part, fidelity.feeds) for part in (fidelity.accuracy, fidelity.source_accuracy)
        )
        return f"{text}; its accuracy is {accuracy}, the source's {source}"
    return text


def _agreement(fidelity: Fidelity, on: str) -> str:
    """Return the share of same answers or, without answers to compare, the difference of the outputs."""
    if fidelity.top1_agreement is not None:
        count = fidelity.top1_agreement * fidelity.feeds
        same = f"{round(count):,} of" if abs(count - round(count)) < 1e-6 * fidelity.feeds else (
            f"{quantities.percent(fidelity.top1_agreement, fidelity.feeds)} of"
        )  # fmt: skip
        return f"gives the same answer on {same} {on}"
    if fidelity.max_abs is None or not math.isfinite(fidelity.max_abs):
        return f"gives numbers that are not finite where the source's are, on {on}"
    error = f"differs by at most {fidelity.max_abs:.2g} on {on}"
    return f"{error} (SQNR {quantities.decibel(fidelity.sqnr_db)})" if fidelity.sqnr_db is not None else error


def _speedup(result: Result) -> float:
    """Return the speed-up; 0 if not timed, so that the artifact cannot be the fastest."""
    compared = result.versus_source
    return (compared.speedup or 0.0) if compared else 0.0


def _size_ratio(result: Result) -> float:
    compared = result.versus_source
    return (compared.size_ratio or 0.0) if compared else 0.0


def _verdict(result: Result) -> str | None:
    return result.versus_source.verdict if result.versus_source else None
