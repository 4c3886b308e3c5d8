"""Verdicts on samples that were recorded once and on samples that are written down here; nothing is timed."""

import math
import statistics
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from verdict_simulation import read_recordings, simulate, simulate_kept, wilson

from edgeopt.measure.control import Control
from edgeopt.measure.effects import LaunchEffect
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.verdicts import Design, compare, judge

pytestmark = pytest.mark.quick

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
    assert design.error_rate(9) == design.error_rate(8)


def test_a_launch_that_was_cut_in_two_spends_no_share_twice():
    """It counts as two launches, so the looks come after 4, 6 and 9 of them."""
    cut = Design(8, cut=1)
    assert sum(cut.error_rate(count) for count in (4, 6, 9)) == pytest.approx(0.01)


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
    assert speedup.within == pytest.approx(max(speedup.ratio, 1 / speedup.ratio) * math.exp(speedup.margin) - 1)


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
    early, late = judge(effects(0.013, 0.013, 0.013), Design(20)), judge(effects(*[0.013, 0.0131] * 10), Design(20))
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
    assert compare(measurement(lost), measurement(NOISY), ONCE).ratio == pytest.approx(0.5)
    later = Measurement("it", 1, measurement(scaled(NOISY, 2)).launches[2:])
    assert compare(later, measurement(NOISY[:2]), ONCE) is None


@pytest.mark.parametrize(
    ("values", "most", "seconds"),
    [
        ((0.0, 0.01, -0.01), 8, 6.0),  # its margin must shrink from 2.7 % to 1 %
        ((0.02, 0.01, 0.03), 8, 3.0),  # a difference of 2 % is seen earlier, but a run of 8 launches was not enough
        ((0.0095, 0.0085, 0.009), 8, None),  # so near to 1 % that no measurement decides it
        ((0.2, -0.2, 0.0), 8, None),
    ],
)
def test_the_time_that_would_decide_an_unclear_verdict(values, most, seconds):
    speedup = judge(effects(*values), Design(most, launch_wall_s=2.0))
    assert (speedup.verdict, speedup.seconds_needed) == ("unclear", seconds)


def test_the_time_that_would_decide_is_of_the_whole_measurement():
    speedup = judge(effects(0.0, 0.01, -0.01), Design(8, launch_wall_s=2.0))
    assert speedup.takes_s == pytest.approx(20 * 2.0 + 0.75 * (23 - 20))
    assert judge(effects(0.0, 0.01, -0.01), Design(8)).takes_s is None
    decided = judge(effects(0.3, 0.3, 0.3), Design(8, launch_wall_s=2.0))
    assert (decided.verdict, decided.seconds_needed, decided.takes_s) == ("faster", None, None)


def test_two_copies_that_differ_widen_every_interval():
    loud = Control("a", 1.018, None, 3, bias=0.018)
    found = effects(0.021, 0.02, 0.022)
    alone, beside_quiet, beside_loud = (
        judge(found, Design(3, control=control)) for control in (None, replace(loud, bias=0.0), loud)
    )
    assert beside_quiet == alone
    assert (alone.verdict, beside_loud.verdict) == ("faster", "unclear")
    assert beside_loud.ci95[0] < 1 < alone.ci95[0]
    assert beside_loud.seconds_needed is None, "more launches do not make a bias smaller"


def test_an_interval_after_an_early_stop_is_a_little_wider():
    early, last = judge(effects(0.03, 0.031, 0.029), Design(8)), judge(effects(0.03, 0.031, 0.029), Design(3))
    assert early.verdict == last.verdict == "faster"
    wider = math.log(early.ci95[1] / early.ci95[0]) / math.log(last.ci95[1] / last.ci95[0])
    assert 1.0 < wider <= 1.1


SESSIONS = 2000
MACHINES = {folder.name: folder for folder in RECORDED.iterdir() if folder.is_dir()}


@pytest.fixture(scope="module")
def recorded():
    """Return a function that gives the recorded sessions of a machine."""
    return cache(lambda machine: read_recordings(MACHINES[machine]))


@pytest.fixture(scope="module")
def rates(recorded):
    """Return a function that simulates sessions of a machine, each kind once."""

    @cache
    def simulated(machine, slower, seconds):
        return simulate(recorded(machine), slower, seconds=seconds, sessions=SESSIONS, seed=1)

    return lambda machine, slower, seconds=5.0: simulated(machine, slower, seconds)


@pytest.mark.parametrize("seconds", [2.0, 5.0])
@pytest.mark.parametrize("machine", MACHINES)
def test_equal_copies_are_called_different_at_most_once_in_a_hundred(rates, machine, seconds):
    assert rates(machine, 0.0, seconds).share("faster", "slower") <= 0.01


@pytest.mark.parametrize("machine", MACHINES)
def test_so_are_copies_that_stay_what_they_are_for_a_session(recorded, machine):
    assert simulate_kept(recorded(machine), 0.0, sessions=SESSIONS).share("faster", "slower") <= 0.01


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


@pytest.mark.parametrize("machine", MACHINES)
def test_an_obvious_difference_takes_three_launches(rates, machine):
    found = rates(machine, 0.3)
    assert found.share("slower") == 1.0
    assert found.launches < 3.3


@pytest.mark.parametrize("slower", [0.0, 0.02, 0.03, 0.3])
@pytest.mark.parametrize("machine", MACHINES)
def test_an_interval_contains_the_truth_in_95_of_100_sessions_whenever_they_ended(rates, machine, slower):
    # The limits are 93 and 97 of 100; 2,000 sessions tell that to within one.
    assert 0.925 <= rates(machine, slower).covered / SESSIONS <= 0.975


def test_copies_that_really_are_slower_are_found(recorded):
    """In two of the recordings, copies that spin for 2 and 3 % of the time took part."""
    for machine in ("first", "shared"):
        for kind, slower in (("2 % slower", 0.02), ("3 % slower", 0.03)):
            pairs = read_recordings(MACHINES[machine], ("source", kind))
            effects = [launch[kind, "source"].effect for session in pairs for launch in session]
            assert statistics.median(effects) == pytest.approx(-math.log1p(slower), abs=0.005)
            found = [judge([launch[kind, "source"] for launch in session], Design(8)) for session in pairs]
            assert {speedup.verdict for speedup in found} <= {"slower", "unclear"}


def test_the_simulation_can_tell_a_bad_design(recorded, rates, monkeypatch):
    """With a share of 5 % for every look, equal copies are called different far more often."""
    good = rates("shared", 0.0).share("faster", "slower")
    monkeypatch.setattr(Design, "error_rate", lambda _self, _launches: 0.05)
    bad = simulate(recorded("shared"), 0.0, seconds=5.0, sessions=SESSIONS).share("faster", "slower")
    assert bad > 0.02
    assert bad > 5 * good


def test_a_share_and_its_interval():
    assert wilson(0, 100) == (0.0, pytest.approx(0.037, abs=1e-3))
    assert wilson(50, 100) == (pytest.approx(0.404, abs=1e-3), pytest.approx(0.596, abs=1e-3))
