"""The numbers, on samples that were recorded once and on samples that are written down here; nothing is timed."""

import math
import statistics

import pytest

from edgeopt.measure import stats
from edgeopt.measure.measurement import Launch, Measurement

pytestmark = pytest.mark.quick


def measurement(launches, name="it", **changes) -> Measurement:
    """Samples in nanoseconds, by launch and round."""
    facts = {"load_s": 0.5, "first_s": 0.1, "steady": True, "peak_bytes": 3, "model_bytes": 2, **changes}
    launched = (Launch(number=n, rounds=tuple(map(tuple, rounds)), **facts) for n, rounds in enumerate(launches))
    return Measurement(name, 1, tuple(launched))


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [  # printed tables of Student's t
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 4, 2.776),
        (0.975, 7, 2.365),
        (0.975, 30, 2.042),
        (0.95, 5, 2.015),
        (0.995, 10, 3.169),
        (0.5, 6, 0.0),
    ],
)
def test_quantiles_of_students_t(probability, freedom, value):
    assert stats.t_quantile(probability, freedom) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(("share", "enough"), [(0.90, 64), (0.99, 662)])
def test_a_percentile_needs_enough_samples(share, enough):
    ordered = list(range(1, enough + 1))
    assert stats.percentile(ordered, share) == math.ceil(share * enough)
    assert stats.percentile(ordered[:-1], share) is None
    assert stats.percentile([], share) is None


def test_the_interval_of_a_mean():
    assert stats.interval([1.0, 2.0, 3.0]) == (2.0, pytest.approx(4.303 / math.sqrt(3), abs=1e-3))
    assert stats.interval([2.0, 2.0]) == (2.0, 0.0)
    assert stats.interval([2.0]) == (2.0, math.inf)


def test_from_five_launches_on_the_extremes_are_trimmed():
    # Winsorised: 2 2 3 4 4, so the standard deviation is 1; three values are kept, so t has 2 degrees.
    mean, half = stats.interval([2.0, -50.0, 3.0, 90.0, 4.0])
    assert mean == 3.0
    assert half == pytest.approx(4.303 * 1.0 * math.sqrt(4 / (3 * 2)), abs=1e-3)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.1, 1.4), (0.5, 3.0), (1.0, 5.0)])
def test_a_quantile_lies_between_samples(share, value):
    assert stats.quantile([1, 2, 3, 4, 5], share) == pytest.approx(value)
    assert stats.quantile([7], share) == 7


def test_the_latency_of_a_measurement():
    launches = [[[3_000_000, 1_000_000], [2_000_000]], [[2_000_000, 2_500_000], []]]
    latency = stats.summarise(measurement(launches))
    half = 12.706 * statistics.stdev([0.002, 0.00225]) / math.sqrt(2)
    assert latency == stats.Latency(
        median_s=0.002,
        ci95_s=(pytest.approx(0.002 - half, rel=1e-3), pytest.approx(0.002 + half, rel=1e-3)),
        mean_s=pytest.approx(0.0021),
        min_s=0.001,
        p90_s=None,
        p99_s=None,
        iterations=5,
        rounds=3,
        launches=2,
        load_s=0.5,
        first_s=0.1,
        threads=1,
        samples_s=(0.003, 0.001, 0.002, 0.002, 0.0025),
        steady=True,
    )


def test_an_interval_never_reaches_below_zero_and_one_unsteady_launch_is_said():
    steady, unsteady = measurement([[[1_000]]]).launches[0], measurement([[[9_000]]], steady=False).launches[0]
    latency = stats.summarise(Measurement("it", 1, (steady, unsteady)))
    assert latency.ci95_s[0] == 0.0
    assert latency.steady is False


def test_nothing_timed_has_no_latency():
    untimed = measurement([[]])
    assert stats.summarise(untimed) is None
    assert stats.round_spread(untimed) == 0.0


def test_the_spread_of_rounds():
    even = [[[1000, 1000], [1000, 1010], [1000, 1020]]]
    uneven = [[[1000], [1500], [2000], [1200]]]
    assert stats.round_spread(measurement(even)) == pytest.approx(0.01, abs=0.001)
    assert stats.round_spread(measurement([*even, *uneven])) > 0.5
