"""Units adapt, and digits end where the interval begins."""

import pytest

from edgeopt.report import quantities

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.01432, (0.01425, 0.0144), "14.32 ms ± 0.08"),
        (0.0143, (0.0142, 0.0144), "14.3 ms ± 0.1"),
        (0.218, (0.206, 0.224), "218 ms ± 12"),
        (3.1234567e-3, (3.1234566e-3, 3.1234568e-3), "3.123 ms ± 0.001"),
        (5e-3, (5e-3, 5e-3), "5.00 ms ± 0.01"),
        (0.9996, (0.98, 1.01), "1.00 s ± 0.02"),
        (42e-6, (41.6e-6, 42.2e-6), "42.0 µs ± 0.4"),
        (4e-7, (3.9e-7, 4.2e-7), "0.40 µs ± 0.02"),
        (3e-3, (1e-3, 9e-3), "3 ms ± 6"),
    ],
)
def test_seconds_within(value: float, interval: tuple[float, float], text: str) -> None:
    assert quantities.seconds_within(value, interval) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(9.996e-3, "10.0 ms"), (0.99951, "1.00 s"), (75.4, "75.4 s"), (754.4, "754 s"), (0.0, "0 µs")],
)
def test_seconds(value: float, text: str) -> None:
    assert quantities.seconds(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999_600, "1.00 MB"),
        (4_030_000, "4.03 MB"),
        (42_900_000, "42.9 MB"),
        (3e9, "3.00 GB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert quantities.size(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(46_200_000, "46 MB"), (612e6, "612 MB"), (1.234e9, "1.2 GB"), (80, "80 B")]
)
def test_memory(count: float, text: str) -> None:
    assert quantities.memory(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(3.66, "3.7x"), (0.914, "0.91x"), (9.96, "10x"), (12.3, "12x"), (118.6, "119x"), (1.0, "1.0x")]
)
def test_ratio(value: float, text: str) -> None:
    assert quantities.ratio(value) == text


def test_ratio_within() -> None:
    assert quantities.ratio_within(4.6, (4.5, 4.72)) == "4.6x ± 0.1"
    assert quantities.ratio_within(0.5123, (0.51, 0.515)) == "0.512x ± 0.003"
    assert quantities.ratio_range(4.6, (4.5, 4.72)) == ("4.6x", "4.5 to 4.7")


@pytest.mark.parametrize(
    ("fraction", "samples", "text"),
    [
        (0.988, 1000, "98.8 %"),
        (0.9996, 10_000, "99.9 %"),
        (0.995, 200, "99.5 %"),
        (0.999, 100, "99 %"),
        (1, 10, "100 %"),
        (0, 5, "0 %"),
        (0.0001, 10_000, "0.1 %"),
        (0.004, 100, "1 %"),
        (0.97, 64, "97 %"),
    ],
)
def test_percent_is_whole_only_when_all_agree(fraction: float, samples: int, text: str) -> None:
    assert quantities.percent(fraction, samples) == text


def test_points() -> None:
    shown = [quantities.points(change, 1000) for change in (-0.003, 0.0121, 0.0, -0.0001)]
    assert shown == ["-0.3", "+1.2", "0.0", "0.0"]


def test_counted() -> None:
    assert [quantities.counted(n, "feed") for n in (1, 1000)] == ["1 feed", "1,000 feeds"]
