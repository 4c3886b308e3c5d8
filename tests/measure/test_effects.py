"""What a launch of two artifacts says of their speeds."""

import math
import random
import statistics

import pytest

from edgeopt.measure import effects
from edgeopt.measure.effects import launch_effects
from edgeopt.measure.measurement import Launch, Measurement

pytestmark = pytest.mark.quick


def measured(launches, first=0):
    """Samples in nanoseconds, by launch and round."""
    facts = {"load_s": 0.5, "first_s": 0.1, "steady": True, "peak_bytes": 3, "model_bytes": 2}
    launched = (Launch(number=n, rounds=tuple(map(tuple, rounds)), **facts) for n, rounds in enumerate(launches, first))
    return Measurement("it", 1, tuple(launched))


def test_the_effect_of_a_launch_is_the_median_over_its_rounds():
    source = measured([[[1000, 1100], [1000, 1010], [1000, 1500]]])
    faster = measured([[[500, 550], [250, 252], [500, 750]]])
    (launch,) = launch_effects(faster, source)
    assert launch.effect == pytest.approx(math.log(2))
    assert launch.error > 0


def test_only_rounds_and_launches_of_both_count():
    source = measured([[[1000], [1000]], [[1000]], [[1000]]])
    lost = measured([[[500], []], [[]]])
    assert [launch.effect for launch in launch_effects(lost, source)] == [pytest.approx(math.log(2))]
    assert launch_effects(measured([[[500]]], first=3), source) == []


def test_an_interruption_inside_a_round_does_not_count():
    source = measured([[[1000] * 5] * 9])
    disturbed = measured([[[1000, 1000, 3000, 3000, 3000]] * 9])
    assert launch_effects(disturbed, source)[0].effect == pytest.approx(0.0)


def test_more_inferences_in_a_round_do_not_make_a_copy_faster():
    draw = random.Random(1)  # noqa: S311

    def copy(count):
        return measured([[[round(1e6 * draw.uniform(1, 1.5)) for _ in range(count)] for _ in range(4000)]])

    apart = [launch_effects(copy(3), copy(2))[0].effect for _ in range(5)]
    assert statistics.fmean(apart) == pytest.approx(0.0, abs=0.006)
    # Without the same number on both sides, three would look faster.
    assert launch_effects(copy(6), copy(3))[0].effect > 0.03


def test_the_error_of_a_median():
    # Of 20 values the middle ten, from the sixth to the fifteenth, reach 9 / (2 sqrt(20)) of their standard errors.
    values = [float(value) for value in range(20)]
    assert effects._median_error(values) == pytest.approx(math.sqrt(20) / 2)
    assert effects._median_error([1.0]) == 0.0
    draw = random.Random(2)  # noqa: S311
    medians, errors = [], []
    for _ in range(2000):
        sample = sorted(draw.gauss(0, 1) for _ in range(60))
        medians.append(statistics.median(sample))
        errors.append(effects._median_error(sample))
    assert statistics.fmean(errors) == pytest.approx(statistics.stdev(medians), rel=0.1)
