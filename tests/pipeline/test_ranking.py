"""Which artifact to ship: the fastest that is true enough, by what was measured side by side."""

import random
import re
from dataclasses import replace

import pytest

from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.verdicts import Design, compare
from edgeopt.pipeline.entries import latency_record
from edgeopt.pipeline.ranking import Bound, rank
from edgeopt.report.schema import BudgetLine, ErrorRecord, Fidelity, Ranked, Result
from edgeopt.report.sentences import UNDECIDED, ranking_lines
from tests.report.conftest import artifact, fidelity

pytestmark = pytest.mark.quick

DESIGN = Design(3)
NOISE = random.Random(5)  # noqa: S311


def measured(name, us):
    """Three launches of ten rounds of five samples, within half a percent of `us` microseconds."""

    def rounds():
        return tuple(tuple(round(us * 1000 * NOISE.uniform(1, 1.005)) for _ in range(5)) for _ in range(10))

    return Measurement(name, 1, tuple(Launch(n, 0.1, 0.1, True, rounds(), 10_000_000, 1_000_000) for n in range(3)))


def steady(name, *us):
    """One launch for each of some times in microseconds, without any noise in it."""
    return Measurement(
        name, 1, tuple(Launch(n, 0.1, 0.1, True, ((round(1000 * t),) * 5,) * 8, 10, 1) for n, t in enumerate(us))
    )


def rank_measured(*rows):
    """Rank rows of a measurement, bytes and a fidelity."""
    results = [
        Result(m.name, "b", "p", "ok", artifact=artifact(m.name, size), latency=latency_record(m), fidelity=judged)
        for m, size, judged in rows
    ]
    return rank(results, {m.name: m for m, _, _ in rows}, DESIGN, bound=Bound(min_agreement=0.9))


@pytest.fixture
def rank_all():
    """Rank rows given as name: (microseconds, bytes, fidelity)."""

    def run(rows, bound=None):
        measurements = {name: measured(name, us) for name, (us, _, _) in rows.items() if us}
        results = [
            Result(
                name, "b", "p 1", "ok",
                artifact=artifact(name, size),
                latency=latency_record(measurements[name]) if us else None,
                fidelity=judged,
                untimed="" if us else "no GPU on this device",
            )
            for name, (us, size, judged) in rows.items()
        ]  # fmt: skip
        return rank(results, measurements, DESIGN, bound=bound or Bound())

    return run


def test_a_source_that_was_not_timed_is_no_candidate(rank_all):
    ranking = rank_all({"source": (None, 800_000, None), "int8": (100, 50_000, fidelity(0.99))})
    assert [ranked.target for ranked in ranking.order] == ["int8"]


def test_the_fastest_that_is_true_enough_wins_and_each_other_has_its_reason(rank_all):
    ranking = rank_all(
        {
            "source": (900, 800_000, None),
            "float": (300, 200_000, fidelity(1.0)),
            "int8": (100, 50_000, fidelity(0.99)),
            "tiny": (50, 10_000, fidelity(0.9)),
            "gpu": (None, 300_000, fidelity(1.0)),
        }
    )
    assert (ranking.best, ranking.min_top1_agreement, ranking.min_sqnr_db) == ("int8", 0.98, None)
    assert [ranked.target for ranked in ranking.order] == ["int8", "float", "source", "tiny", "gpu"]
    assert [ranked.place for ranked in ranking.order] == [1, 2, 3, None, None]
    lines = ranking_lines(ranking)
    assert lines[0] == "int8: the fastest here that gives the source's answer on at least 98 % of the feeds."
    assert re.fullmatch(r"not float: (3\.0|2\.99)\d*x slower \([\d.]+ to [\d.]+\)", lines[1])
    assert re.fullmatch(r"not source: (9\.0|8\.99)\d*x slower \([\d.]+ to [\d.]+\)", lines[2])
    assert lines[3] == "not tiny: agrees on 90.0 %, wanted at least 98 %"
    assert lines[4] == "not gpu: not timed: no GPU on this device"
    assert ranking.order[1].speedup == pytest.approx(1 / 3, rel=0.01)
    low, high = ranking.order[1].speedup_ci95
    assert low <= ranking.order[1].speedup <= high


def test_of_those_that_are_as_fast_the_smallest_and_then_the_truest_wins(rank_all):
    ranking = rank_all(
        {
            "source": (900, 800_000, None),
            "big": (100, 100_000, fidelity(1.0)),
            "small": (100.2, 50_000, fidelity(1.0, sqnr_db=30.0)),
            "truer": (100.1, 50_000, fidelity(1.0, sqnr_db=60.0)),
        }
    )
    assert [ranked.target for ranked in ranking.order] == ["truer", "small", "big", "source"]
    assert [ranked.reason for ranked in ranking.order[1:3]] == [
        "as fast as truer, not smaller, and less accurate",
        "as fast as truer, and 2.0x bigger",
    ]


def test_without_verdicts_there_is_no_best_however_far_the_times_lie_apart():
    quick, small = steady("quick", 1), steady("small", 10)
    ranking = rank_measured((quick, 10_000_000, fidelity(1.0)), (small, 5_000_000, fidelity(1.0)))
    assert ranking.best is None
    assert ranking.order == (Ranked("quick", None, UNDECIDED), Ranked("small", None, UNDECIDED))
    alone = rank_measured((quick, 10_000_000, fidelity(1.0)), (small, 5_000_000, fidelity(0.5)))
    assert alone.best == "quick"


def test_between_equals_the_name_decides_and_the_reason_says_so():
    exact = fidelity(1.0, sqnr_db=None, max_abs=0.0)
    one, other = steady("a", 100, 100.1, 100.2), steady("b", 100, 100.1, 100.2)
    ranking = rank_measured((other, 100, exact), (one, 100, exact))
    assert [(ranked.target, ranked.reason) for ranked in ranking.order] == [
        ("a", ""),
        ("b", "as fast as a, neither smaller nor more accurate; the name decides between equals"),
    ]


def test_one_that_is_as_fast_as_the_best_but_slower_than_another_names_that_one():
    fast, middle = steady("fast", 1000, 1000, 1000), steady("middle", 1009, 1009, 1009)
    slow = steady("slow", 1018, 1018, 1018)
    ranking = rank_measured(
        (fast, 300, fidelity(1.0)), (middle, 200, fidelity(1.0)), (slow, 100, fidelity(1.0, sqnr_db=60.0))
    )
    assert [(ranked.target, ranked.reason) for ranked in ranking.order] == [
        ("middle", ""),
        ("fast", "cannot be told from middle (within 1.8 %; --seconds 59 would probably decide), and 1.5x bigger"),
        ("slow", "1.02x slower (1.02 to 1.02) than fast"),
    ]


def test_the_best_is_one_that_no_other_is_faster_than():
    # `unsure` has the lowest median, and neither of the others can be told from it; `slow` is the smallest.
    unsure, sure, slow = steady("unsure", 900, 999, 1130), steady("sure", *[1000] * 3), steady("slow", *[1030] * 3)
    ranking = rank_measured((unsure, 300, fidelity(1.0)), (sure, 200, fidelity(1.0)), (slow, 100, fidelity(1.0)))
    assert [(ranked.target, ranked.reason) for ranked in ranking.order] == [
        ("sure", ""),
        ("slow", "1.03x slower (1.03 to 1.03)"),
        ("unsure", "cannot be told from sure (within 37 %), and 1.5x bigger"),
    ]


def test_what_is_over_its_budget_is_not_shipped():
    quick = steady("quick", 1, 1, 1)
    row = Result("quick", "b", "p", "ok", latency=latency_record(quick), artifact=artifact("quick", 10))
    over = replace(row, fidelity=fidelity(1.0), budget=(BudgetLine("max_size_bytes", 5.0, 10.0, met=False),))
    assert rank([over], {"quick": quick}, DESIGN, bound=Bound()).order == (Ranked("quick", None, "over its budget"),)


def test_a_model_without_classes_is_judged_by_its_sqnr_and_exact_needs_none(rank_all):
    rows = {
        "source": (900, 800_000, None),
        "exact": (400, 80_000, fidelity(None, sqnr_db=None, cosine=1.0, max_abs=0.0)),
        "noisy": (100, 50_000, fidelity(None, sqnr_db=12.34)),
    }
    ranking = rank_all(rows)
    assert (ranking.best, ranking.min_top1_agreement, ranking.min_sqnr_db) == ("exact", None, 20.0)
    assert ranking.order[-1].reason == "has an SQNR of 12.3 dB, wanted at least 20 dB"
    assert rank_all(rows, Bound(min_sqnr_db=10)).best == "noisy"
    asked = rank_all(rows, Bound(min_agreement=0.9))
    assert asked.best == "source"
    assert asked.order[1].reason == "has no best class whose agreement could be told, wanted at least 90 %"


def test_without_any_that_is_true_enough_there_is_no_best():
    failed = Result("int8", "b", "p 1", "failed", error=ErrorRecord("export", "it is Tuesday", "", ""))
    ranking = rank([failed], {}, DESIGN, bound=Bound(min_agreement=0.5))
    assert ranking.best is None
    assert ranking.order == (Ranked("int8", None, "failed: it is Tuesday"),)
    assert ranking_lines(ranking)[0].startswith("None: no artifact was timed and gives")


def test_the_best_is_never_slower_than_another_by_what_was_measured(rank_all):
    for seed in range(20):
        NOISE.seed(seed)
        rows = {f"t{n}": (NOISE.uniform(95, 130), NOISE.randint(10_000, 90_000), fidelity(1.0)) for n in range(6)}
        measurements = {name: measured(name, us) for name, (us, _, _) in rows.items()}
        results = [
            Result(n, "b", "p", "ok", artifact=artifact(n, s), latency=latency_record(measurements[n]), fidelity=f)
            for n, (_, s, f) in rows.items()
        ]
        best = rank(results, measurements, DESIGN, bound=Bound()).best
        for name, measurement in measurements.items():
            assert name == best or compare(measurements[best], measurement, DESIGN).verdict != "slower"


def test_a_fidelity_that_is_not_known_is_a_reason():
    unknown = Result("x", "b", "p 1", "ok", latency=latency_record(measured("x", 100)), artifact=artifact("x", 10))
    ranking = rank([unknown], {"x": measured("x", 100)}, DESIGN, bound=Bound(min_sqnr_db=1))
    assert ranking.order[0].reason == "not compared with the source"
    dead = Fidelity(10, None, None, None, float("inf"), None, None)
    ranking = rank([replace(unknown, fidelity=dead)], {"x": measured("x", 100)}, DESIGN, bound=Bound(min_sqnr_db=1))
    assert ranking.order[0].reason == "has no SQNR, wanted at least 1 dB"
