"""Verdicts on samples that were recorded once and on samples that are written down here; nothing is timed."""

import math
import random
import statistics
from pathlib import Path

import pytest
from verdict_simulation import Counter, Rates, read_recordings, simulate, wilson

from edgeopt.measure import verdicts
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.verdicts import Control, Design, LaunchEffect, check_control, compare, judge, launch_effects

RECORDED = Path(__file__).parent / "recorded"
ONCE = Design(3)


def measurement(launches, name="it") -> Measurement:
    """Samples in nanoseconds, by launch and round."""
    facts = {"load_s": 0.5, "first_s": 0.1, "steady": True, "peak_bytes": 3, "model_bytes": 2}
    launched = (Launch(number=n, rounds=tuple(map(tuple, rounds)), **facts) for n, rounds in enumerate(launches))
    return Measurement(name, 1, tuple(launched))


def scaled(launches, factor):
    """The samples of another artifact that takes `factor` times as long."""
    return [[[round(ns * factor) for ns in chunk] for chunk in rounds] for rounds in launches]


def effects(*values, error=0.0):
    return [LaunchEffect(value, error) for value in values]


NOISY = [
    [[1_000_000 + 3_000 * ((launch * 7 + number * 5 + i * 3) % 11) for i in range(5)] for number in range(10)]
    for launch in range(3)
]


@pytest.mark.parametrize(
    ("most", "looks"),
    [
        (1, (3,)),
        (3, (3,)),
        (4, (3, 4)),
        (8, (3, 5, 8)),
        (9, (3, 5, 8, 9)),
        (20, (3, 5, 8, 13, 20)),
        (40, (3, 5, 8, 13, 21, 34, 40)),
    ],
)
def test_looks_are_fibonacci_numbers_and_share_the_error_rate(most, looks):
    design = Design(most)
    assert design.looks == looks
    assert sum(design.error_rate(count) for count in looks) == pytest.approx(0.01)
    assert [design.error_rate(count) for count in looks] == sorted(design.error_rate(count) for count in looks)


def test_an_early_end_uses_the_share_of_the_next_look():
    design = Design(8)
    assert design.error_rate(2) == design.error_rate(3)
    assert design.error_rate(4) == design.error_rate(5)
    assert design.error_rate(9) == design.error_rate(8), "a launch that was cut counts twice"


@pytest.mark.parametrize(("pairs", "rate"), [(1, 0.01), (5, 0.01), (10, 0.005), (15, 0.05 / 15)])
def test_a_table_of_many_pairs_is_wrong_at_most_one_time_in_twenty(pairs, rate):
    design = Design(8, pairs)
    assert sum(design.error_rate(count) for count in design.looks) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (0.5, "faster"),
        (0.985, "faster"),
        (0.995, "unclear"),
        (1.0, "same"),
        (1.001, "same"),
        (1.005, "unclear"),
        (1.015, "slower"),
        (3, "slower"),
    ],
)
def test_a_verdict_and_its_ratio(factor, verdict):
    speedup = compare(measurement(scaled(NOISY, factor)), measurement(NOISY), ONCE)
    assert speedup.verdict == verdict
    assert speedup.is_decided is (verdict != "unclear")
    assert speedup.ratio == pytest.approx(1 / factor, rel=1e-4)
    assert speedup.ci95[0] <= speedup.ratio <= speedup.ci95[1]
    assert speedup.within >= abs(speedup.ratio - 1)


def test_both_ways_round_the_verdict_is_the_same_one():
    slow, fast = measurement(scaled(NOISY, 1.05)), measurement(NOISY)
    forward, back = compare(slow, fast, ONCE), compare(fast, slow, ONCE)
    assert (forward.verdict, back.verdict) == ("slower", "faster")
    assert forward.ratio == pytest.approx(1 / back.ratio)
    assert forward.margin == pytest.approx(back.margin)


def test_same_is_said_only_of_what_is_certain_within_one_percent():
    alike = judge(effects(0.0001, -0.0001, 0.0), ONCE)
    assert (alike.verdict, alike.within < 0.01) == ("same", True)
    apart = judge(effects(0.02, -0.02, 0.0), ONCE)
    assert (apart.verdict, apart.within > 0.02) == ("unclear", True)


def test_what_differs_between_launches_is_unclear():
    launches = [scaled(NOISY, factor)[0] for factor in (1.00, 1.05, 1.04)]
    speedup = compare(measurement(launches), measurement(NOISY), ONCE)
    assert (speedup.verdict, speedup.is_decided) == ("unclear", False)
    assert speedup.ratio < 0.98
    assert speedup.ci95[1] > 1


def test_three_launches_that_agree_by_chance_prove_little():
    early, late = judge(effects(0.013, 0.013, 0.013), Design(20)), judge(effects(*[0.013] * 20), Design(20))
    assert (early.verdict, late.verdict) == ("unclear", "faster")
    noisy = judge(effects(0.03, 0.03, 0.03, error=0.02), Design(20))
    assert noisy.verdict == "unclear", "its rounds lie apart, so its launches do too"


def test_one_launch_alone_has_no_verdict():
    speedup = compare(measurement(scaled(NOISY, 2)[:1]), measurement(NOISY[:1]), ONCE)
    assert (speedup.verdict, speedup.ci95, speedup.within, speedup.seconds_needed) == (None, None, None, None)
    assert speedup.is_decided is False


def test_only_rounds_that_both_have_are_compared():
    lost = scaled(NOISY, 2)
    lost[0][3], lost[1] = [], [[]] * 10
    speedup = compare(measurement(lost), measurement(NOISY), ONCE)
    assert (speedup.ratio, speedup.launches) == (pytest.approx(0.5), 2)
    later = Measurement("it", 1, measurement(scaled(NOISY, 2)).launches[2:])
    assert compare(later, measurement(NOISY[:2]), ONCE) is None


def test_an_interruption_of_most_rounds_does_not_count():
    disturbed = [[[*chunk[:2], *(3 * ns for ns in chunk[2:])] for chunk in rounds] for rounds in NOISY]
    speedup = compare(measurement(disturbed), measurement(NOISY), ONCE)
    assert speedup.ratio == pytest.approx(1, abs=0.02)


def test_more_inferences_in_a_round_do_not_make_a_copy_faster():
    draw = random.Random(1)  # noqa: S311
    many, few = (
        measurement([[[round(1e6 * draw.uniform(1, 1.5)) for _ in range(count)] for _ in range(400)] for _ in range(3)])
        for count in (3, 2)
    )
    apart = [statistics.fmean(launch.effect for launch in launch_effects(many, other)) for other in (few, many)]
    assert apart[0] == pytest.approx(0.0, abs=0.012)
    assert apart[1] == 0.0


def test_the_error_of_a_median():
    # Of 20 values the middle ten, from the sixth to the fifteenth, are about as wide as 1.96 standard errors each way.
    values = [float(value) for value in range(20)]
    error = verdicts._median_error(values)
    assert error == pytest.approx(9 * math.sqrt(20) / (2 * 9))
    assert verdicts._median_error([1.0]) == 0.0


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ((0.0, 0.01, -0.01), 6.0),  # its margin must shrink from 2.7 to 1 %
        ((0.02, 0.01, 0.03), 2.0),  # a difference of 2 % is seen earlier
        ((0.0095, 0.0085, 0.009), None),  # so near to 1 % that no measurement decides it
        ((0.2, -0.2, 0.0), None),
    ],
)
def test_what_would_decide_an_unclear_verdict(values, seconds):
    speedup = judge(effects(*values), Design(8))
    assert speedup.verdict == "unclear"
    if seconds is None:
        assert speedup.seconds_needed is None
    else:
        assert speedup.seconds_needed == seconds


def test_two_copies_that_differ_widen_every_interval():
    quiet, loud = check_control("a", effects(0.001, -0.001, 0.0)), check_control("a", effects(0.019, 0.018, 0.017))
    assert quiet.bias == 0.0
    assert loud.bias == pytest.approx(0.018, rel=0.02)
    assert loud.ratio == pytest.approx(1.018, abs=1e-3)
    found = effects(0.021, 0.02, 0.022)
    alone, beside_quiet, beside_loud = (judge(found, Design(3, control=control)) for control in (None, quiet, loud))
    assert beside_quiet == alone
    assert (alone.verdict, beside_loud.verdict) == ("faster", "unclear")
    assert beside_loud.ci95[0] < alone.ci95[0]
    assert check_control("a", []) is None
    assert check_control("a", effects(0.02)) == Control("a", pytest.approx(1.02, abs=1e-3), None, 1, 0.0)


SESSIONS = 400
MACHINES = {folder.name: folder for folder in RECORDED.iterdir() if folder.is_dir()}


@pytest.fixture(scope="module")
def rates():
    """Return a function that simulates sessions of a machine, each once."""
    known = {}

    def simulated(machine: str, slower: float, seconds: float = 5.0) -> Rates:
        key = machine, slower, seconds
        if machine not in known:
            known[machine] = read_recordings(MACHINES[machine])
        if key not in known:
            known[key] = simulate(known[machine], slower, seconds=seconds, sessions=SESSIONS, seed=1)
        return known[key]

    return simulated


@pytest.mark.parametrize("seconds", [2.0, 5.0])
@pytest.mark.parametrize("machine", MACHINES)
def test_equal_copies_are_called_different_at_most_once_in_a_hundred(rates, machine, seconds):
    assert rates(machine, 0.0, seconds).share("faster", "slower") <= 0.01


@pytest.mark.parametrize("seconds", [2.0, 5.0])
@pytest.mark.parametrize("slower", [0.02, 0.03, 0.3])
@pytest.mark.parametrize("machine", MACHINES)
def test_a_difference_is_hardly_ever_called_the_same_and_never_the_wrong_way(rates, machine, slower, seconds):
    found = rates(machine, slower, seconds)
    assert found.share("same") <= 0.01
    assert found.share("faster") == 0.0


@pytest.mark.parametrize(
    ("machine", "two", "three"),
    [("first", 0.9, 0.99), ("shared", 0.75, 0.9), ("short-rounds", 0.75, 0.9), ("neighbour", 0.75, 0.9)],
)
def test_small_differences_are_found_in_ten_seconds_a_pair(rates, machine, two, three):
    assert rates(machine, 0.02).share("slower") >= two
    assert rates(machine, 0.03).share("slower") >= three
    assert max(rates(machine, slower).measuring_s for slower in (0.02, 0.03)) <= 10.0


@pytest.mark.parametrize("machine", MACHINES)
def test_an_obvious_difference_takes_three_launches(rates, machine):
    found = rates(machine, 0.3)
    assert found.share("slower") == 1.0
    assert found.launches < 3.2


@pytest.mark.parametrize("slower", [0.0, 0.02, 0.03, 0.3])
@pytest.mark.parametrize("machine", MACHINES)
def test_an_interval_contains_the_truth_in_95_of_100_sessions_whenever_they_ended(rates, machine, slower):
    low, high = wilson(rates(machine, slower).covered, SESSIONS)
    assert low <= 0.97
    assert high >= 0.93


def test_the_simulation_can_tell_a_bad_design(monkeypatch):
    """With the interval of one look at every look, equal copies are called different far more often."""
    recordings = read_recordings(MACHINES["shared"])
    monkeypatch.setattr(verdicts, "ERROR_RATE", 1.0)
    monkeypatch.setattr(verdicts, "TABLE_ERROR_RATE", 1.0)
    monkeypatch.setattr(Design, "error_rate", lambda _self, _launches: 0.2)
    assert simulate(recordings, 0.0, seconds=5.0, sessions=SESSIONS).share("faster", "slower") > 0.05


def test_a_share_and_its_interval():
    low, high = wilson(0, 100)
    assert (low, high) == (0.0, pytest.approx(0.037, abs=1e-3))
    assert Rates(4, Counter({"same": 3, "unclear": 1}), 4, 3.0).share("same", "unclear") == 1.0
