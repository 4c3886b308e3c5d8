"""The numbers, on samples that were recorded once and on samples that are written down here; nothing is timed."""

import json
import math
import random
import statistics
from pathlib import Path

import pytest

from edgeopt.measure import stats
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.session import MAX_LAUNCHES, MIN_LAUNCHES

RECORDED = Path(__file__).parent / "recorded"


def measurement(launches, name="it", **changes) -> Measurement:
    """Samples in nanoseconds, by launch and round."""
    facts = {"load_s": 0.5, "first_s": 0.1, "steady": True, "peak_bytes": 3, "model_bytes": 2, **changes}
    launched = (Launch(number=n, rounds=tuple(map(tuple, rounds)), **facts) for n, rounds in enumerate(launches))
    return Measurement(name, 1, tuple(launched))


def scaled(launches, factor):
    """The samples of another artifact that takes `factor` times as long."""
    return [[[round(ns * factor) for ns in chunk] for chunk in rounds] for rounds in launches]


NOISY = [
    [[1_000_000 + 3_000 * ((launch * 7 + number * 5 + i * 3) % 11) for i in range(5)] for number in range(10)]
    for launch in range(3)
]


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


def test_nothing_timed_has_no_latency_and_no_speed_up():
    untimed = measurement([[]])
    assert stats.summarise(untimed) is None
    assert stats.compare(untimed, measurement(NOISY)) is None
    assert stats.round_spread(untimed) == 0.0


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (0.5, "faster"),
        (0.985, "faster"),
        (0.995, "same"),
        (1.0, "same"),
        (1.005, "same"),
        (1.015, "slower"),
        (3, "slower"),
    ],
)
def test_a_verdict_and_its_ratio(factor, verdict):
    speedup = stats.compare(measurement(scaled(NOISY, factor)), measurement(NOISY))
    assert speedup.verdict == verdict
    assert speedup.clear is True
    assert speedup.ratio == pytest.approx(1 / factor, rel=1e-4)
    assert speedup.ci95[0] <= speedup.ratio <= speedup.ci95[1]


def test_what_differs_between_launches_is_not_sure():
    launches = [scaled(NOISY, factor)[0] for factor in (1.00, 1.05, 1.04)]
    speedup = stats.compare(measurement(launches), measurement(NOISY))
    assert (speedup.verdict, speedup.clear) == ("same", False)
    assert speedup.ratio < 0.98
    assert speedup.ci95[1] > 1


def test_one_launch_alone_is_never_sure():
    speedup = stats.compare(measurement(scaled(NOISY, 2)[:1]), measurement(NOISY[:1]))
    assert (speedup.verdict, speedup.clear, speedup.ci95) == (None, False, None)


def test_only_rounds_that_both_have_are_compared():
    lost = scaled(NOISY, 2)
    lost[0][3], lost[1] = [], [[]] * 10
    speedup = stats.compare(measurement(lost), measurement(NOISY))
    assert speedup.ratio == pytest.approx(0.5)
    later = Measurement("it", 1, measurement(scaled(NOISY, 2)).launches[2:])
    assert stats.compare(later, measurement(NOISY[:2])) is None


def test_an_interruption_of_most_rounds_does_not_count():
    disturbed = [[[*chunk[:2], *(3 * ns for ns in chunk[2:])] for chunk in rounds] for rounds in NOISY]
    speedup = stats.compare(measurement(disturbed), measurement(NOISY))
    assert speedup.ratio == pytest.approx(1, abs=0.02)


def test_the_spread_of_rounds():
    even = [[[1000, 1000], [1000, 1010], [1000, 1020]]]
    uneven = [[[1000], [1500], [2000], [1200]]]
    assert stats.round_spread(measurement(even)) == pytest.approx(0.01, abs=0.001)
    assert stats.round_spread(measurement([*even, *uneven])) > 0.5


RECORDINGS = sorted(RECORDED.glob("*.json"))
ORDERS = 25


def judge_as_a_session(source, copy, order):
    """Return the verdict of a session in which the launches came in this order."""
    for count in range(MIN_LAUNCHES, MAX_LAUNCHES + 1):
        pair = (measurement([launches[n] for n in order[:count]]) for launches in (copy, source))
        speedup = stats.compare(*pair)
        if speedup.clear:
            break
    return speedup.verdict


@pytest.fixture(scope="module")
def judged():
    """Verdicts on recorded launches of real processes, by kind of pair; see `benchmarks/verdicts.py --record`.

    Launches are exchangeable, so every recording gives a session for each order that they could have come in.
    """
    shuffle = random.Random(0).shuffle  # noqa: S311 - it shuffles, it keeps no secret
    verdicts = {}
    for file in RECORDINGS:
        samples = json.loads(file.read_text("utf-8"))["samples"]
        source = samples.pop("source")
        for kind, copy in samples.items():
            for _ in range(ORDERS):
                shuffle(order := list(range(MAX_LAUNCHES)))
                verdicts.setdefault(kind, []).append(judge_as_a_session(source, copy, order))
    return verdicts


@pytest.mark.parametrize(
    ("kind", "verdict", "wanted"),
    [("equal", "same", 0.99), ("2 % slower", "slower", 0.90), ("3 % slower", "slower", 0.99)],
)
def test_verdicts_on_recorded_processes(judged, kind, verdict, wanted):
    assert len(judged[kind]) == ORDERS * len(RECORDINGS) >= 200
    assert judged[kind].count(verdict) / len(judged[kind]) >= wanted


def test_an_artifact_recorded_twice_is_the_same_whichever_comes_first(judged):
    for file in RECORDINGS:
        samples = json.loads(file.read_text("utf-8"))["samples"]
        one, other = measurement(samples["equal"]), measurement(samples["source"])
        forward, back = stats.compare(one, other), stats.compare(other, one)
        assert forward.ratio == pytest.approx(1 / back.ratio)
        assert forward.verdict == back.verdict == "same"
