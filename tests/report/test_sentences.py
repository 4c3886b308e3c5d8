"""The answer: which artifact is named, and how it is described."""

from dataclasses import replace

import pytest

from edgeopt.report.schema import BudgetLine, Comparison, Ranked, Ranking, Result, Run
from edgeopt.report.sentences import UNDECIDED, answer, ranking_lines, sentence
from tests.report.conftest import FLOAT32, GPU, INT8, SAVED, SOURCE, fidelity

pytestmark = pytest.mark.quick


def compared(result: Result, size_ratio: float, speedup: float | None, verdict: str | None) -> Result:
    interval = None if speedup is None else (speedup * 0.99, speedup * 1.01)
    return replace(result, versus_source=Comparison(size_ratio, speedup, interval, verdict))


def with_rows(run: Run, *results: Result) -> Run:
    return replace(run, results=(SOURCE, *results))


def test_fastest_is_named_and_the_smallest_where_it_is_another(run: Run) -> None:
    small = compared(replace(FLOAT32, target="small", fidelity=None), 20.0, 0.5, "slower")
    assert answer(with_rows(run, FLOAT32, INT8, small)) == [
        (
            "tflite-int8 is 4.58x faster (4.50 to 4.66) and 11x smaller than the source, and gives the same answer on"
            " 988 of 1,000 feeds."
        ),
        "small is 2.00x slower (1.98 to 2.02) and 20x smaller than the source.",
    ]


def test_nothing_faster(run: Run) -> None:
    slow = compared(FLOAT32, 3.0, 0.9, "slower")
    assert answer(with_rows(run, SAVED, slow)) == [
        "No artifact is measurably faster than the source here.",
        (
            "tflite-float32 is 1.11x slower (1.10 to 1.12) and 3.0x smaller than the source, and gives the same answer"
            " on 1,000 of 1,000 feeds."
        ),
    ]


UNSURE = replace(FLOAT32, target="unsure", versus_source=Comparison(3.0, 1.6, (0.7, 3.6), "same"), fidelity=None)
UNCLEAR = replace(FLOAT32, target="unclear", fidelity=None)
UNCLEAR = replace(UNCLEAR, versus_source=Comparison(3.0, 1.01, (0.99, 1.03), "unclear", 0.0238, 14.0))
SURE = compared(replace(FLOAT32, target="sure", fidelity=None), 2.0, 1.5, "faster")
ONCE = replace(FLOAT32, target="once", versus_source=Comparison(2.0, 9.0, None, None), fidelity=None)
TOO_BIG = replace(SURE, target="too-big", budget=(BudgetLine("max_size_bytes", 1.0, 2.0, met=False),))
SURE_TEXT = "sure is 1.50x faster (1.48 to 1.52) and 2.0x smaller than the source."
UNSURE_TEXT = "unsure is not measurably faster or slower than the source (0.70x to 3.60x) and 3.0x smaller."


UNCLEAR_TEXT = "unclear is not measurably faster or slower than the source (within 2.4 %) and 3.0x smaller."


@pytest.mark.parametrize(
    ("results", "texts"),
    [
        ((UNCLEAR, SURE), [SURE_TEXT, UNCLEAR_TEXT]),
        ((UNSURE, SURE), [SURE_TEXT, UNSURE_TEXT]),
        ((ONCE, SURE), [SURE_TEXT]),
        # One that was timed once may be faster, so nothing is said of all.
        ((ONCE, UNSURE), [UNSURE_TEXT]),
        ((TOO_BIG, UNSURE), [UNSURE_TEXT]),
        (
            (TOO_BIG, UNSURE, SAVED),
            ["No artifact within its budget is measurably faster than the source here.", UNSURE_TEXT],
        ),
        ((TOO_BIG,), ["No artifact is within its budget."]),
    ],
)
def test_only_what_is_surely_faster_is_called_so_and_only_what_is_known_is_denied(
    run: Run, results: tuple[Result, ...], texts: list[str]
) -> None:
    assert answer(with_rows(run, *results)) == texts


def test_with_a_ranking_its_best_is_the_one_that_is_named(run: Run) -> None:
    slower = compared(replace(FLOAT32, target="true", fidelity=None), 2.0, 1.2, "faster")
    rows = with_rows(run, SURE, slower)
    ranked = replace(rows, ranking=Ranking(0.98, None, "true", (Ranked("true", 1, ""), Ranked("sure", None, "no"))))
    assert answer(ranked) == ["true is 1.20x faster (1.19 to 1.21) and 2.0x smaller than the source."]
    source = replace(rows, ranking=Ranking(0.98, None, "source", (Ranked("source", 1, ""),)))
    assert answer(source) == ["The source model itself is the best one to ship here.", SURE_TEXT]
    none = replace(rows, ranking=Ranking(0.98, None, None, (Ranked("sure", None, "no"), Ranked("true", None, "no"))))
    assert answer(none) == [SURE_TEXT]


def test_a_best_one_that_cannot_be_told_from_another_is_not_called_the_fastest() -> None:
    other = Ranked("b", 2, "cannot be told from a (within 2.4 %), and 2.0x bigger", 1.0, (0.98, 1.02), "unclear", 0.024)
    assert ranking_lines(Ranking(0.98, None, "a", (Ranked("a", 1, ""), other))) == [
        "a: no artifact that gives the source's answer on at least 98 % of the feeds is measurably faster here.",
        "not b: cannot be told from a (within 2.4 %), and 2.0x bigger",
    ]
    same = replace(other, verdict="same", reason="as fast as a, and 2.0x bigger")
    assert ranking_lines(Ranking(0.98, None, "a", (Ranked("a", 1, ""), same)))[0].startswith("a: the fastest here that")


def test_a_ranking_that_is_not_decided_says_so(run: Run) -> None:
    assert ranking_lines(Ranking(0.98, None, None, (Ranked("a", None, UNDECIDED), Ranked("b", None, UNDECIDED)))) == [
        "None yet: more than one gives the source's answer on at least 98 % of the feeds.",
        "not a: which is the fastest is not known: that takes two launches in which all are timed side by side",
        "not b: which is the fastest is not known: that takes two launches in which all are timed side by side",
    ]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            SAVED,
            (
                "saved-without-optimizer is as fast as the source and 2.9x smaller, and gives exactly the same outputs"
                " on 1,000 feeds."
            ),
        ),
        (
            GPU,
            (
                "tf-gpu is not timed here (no GPU on this device) and 2.9x smaller, and gives the same answer on"
                " 1,000 of 1,000 feeds."
            ),
        ),
        (
            compared(SAVED, 1.0, 1.5, "faster"),
            (
                "saved-without-optimizer is 1.50x faster (1.48 to 1.52) than the source and of the same size, and gives"
                " exactly the same outputs on 1,000 feeds."
            ),
        ),
        (
            replace(compared(INT8, 0.5, None, None), fidelity=fidelity(None, sqnr_db=None)),
            "tflite-int8 is 2.0x bigger and differs by at most 0.087 on 1,000 feeds.",
        ),
        (
            # Two answers in each feed: the part is no count of feeds.
            replace(compared(INT8, 2.0, None, None), fidelity=fidelity(0.9885)),
            "tflite-int8 is 2.0x smaller and gives the same answer on 98.9 % of 1,000 feeds.",
        ),
        (
            replace(compared(INT8, 2.0, None, None), fidelity=fidelity(None, max_abs=float("inf"), sqnr_db=None)),
            "tflite-int8 is 2.0x smaller and gives numbers that are not finite where the source's are, on 1,000 feeds.",
        ),
        (
            replace(compared(INT8, 2.0, None, None), fidelity=fidelity(0.5, feeds=4000)),
            "tflite-int8 is 2.0x smaller and gives the same answer on 2,000 of 4,000 samples.",
        ),
        (replace(INT8, versus_source=Comparison(None, None, None, None), fidelity=None), "tflite-int8."),
    ],
)
def test_sentence(run: Run, result: Result, text: str) -> None:
    assert sentence(run, result) == text


def test_nothing_to_ship(run: Run) -> None:
    assert answer(with_rows(run)) == ["No artifact to ship came out of this run."]
