"""How the time of a launch is cut into rounds."""

import pytest

from edgeopt.measure.process import Process, Subject
from edgeopt.measure.rounds import plan_rounds

pytestmark = pytest.mark.quick


def process(latency_s):
    return Process(Subject("a", None, "", "", ""), None, None, 0.0, None, {}, latency_s=latency_s)


@pytest.mark.parametrize(
    ("latency_s", "seconds", "rounds", "iterations", "settle"),
    [
        (0.002, 0.25, 62, 2, 1),  # a quarter of a second in rounds of two inferences
        (20e-6, 0.25, 75, 166, 50),  # in rounds of 3.3 ms, and a millisecond to settle before each
        (0.05, 0.25, 16, 3, 1),  # at least 33 inferences
        (0.001, 0.1, 30, 3, 1),
        (20e-6, 3.0, 600, 250, 50),  # a longer launch has more rounds
        (1.0, 0.25, 16, 3, 1),
    ],
)
def test_rounds_are_short_and_fill_the_time_of_a_launch(latency_s, seconds, rounds, iterations, settle):
    one = process(latency_s)
    assert plan_rounds([one], seconds, 100 / 3) == rounds
    assert (one.iterations, one.settle) == (iterations, settle)


def test_the_slowest_decides_how_many_rounds_there_are():
    quick, slow = process(20e-6), process(0.01)
    assert plan_rounds([quick, slow], 0.25, 100 / 3) == 16
    assert (quick.iterations, slow.iterations) == (781, 3)
    assert plan_rounds([], 0.25, 1) == 0
