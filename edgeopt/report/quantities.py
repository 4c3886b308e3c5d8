"""Format numbers for people, in adaptive units, with only as many digits as the measurement supports."""

from __future__ import annotations

import math

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_SPANS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_MOST_DIGITS = 4
"""Maximum number of significant digits; more are not readable in a table, however narrow the interval."""
_WIDE = 0.5
"""An interval wider than this fraction of its value is shown by its ends: its middle means little."""
_FEEDS_FOR_DECIMAL = 100
"""Up to this many samples, percentages are whole: a tenth of a percent is less than one sample."""


def seconds(value: float) -> str:
    """Return a time with three digits: `3.14 ms`."""
    scale, unit = _unit(value)
    return f"{_digits(value / scale, 3)} {unit}"


def seconds_within(value: float, interval: tuple[float, float]) -> str:
    """Return a time and its interval, with the digits that the interval supports: `14.3 ms ± 0.1`."""
    scale, unit = _unit(value)
    number, spread = _within(value / scale, (interval[0] / scale, interval[1] / scale))
    return f"{number} {unit} ± {spread}"


def time_span(value: float) -> str:
    """Return a duration: `30 s`, `5 min`, `1.5 h`."""
    scale, unit = next(((scale, unit) for scale, unit in _SPANS if value >= scale), _SPANS[-1])
    return f"{round(value / scale, 1):g} {unit}"


def ratio(value: float) -> str:
    """Return a ratio with two digits: `3.7x`, `0.91x`, `12x`."""
    return f"{_digits(value, 2)}x"


def ratio_within(value: float, interval: tuple[float, float]) -> str:
    """Return a ratio and its interval: `4.6x ± 0.1`; if that is wide, its two ends: `23x to 149x`."""
    if is_wide(value, interval):
        return f"{ratio(interval[0])} to {ratio(interval[1])}"
    number, spread = _within(value, interval)
    return f"{number}x ± {spread}"


def is_wide(value: float, interval: tuple[float, float]) -> bool:
    """Return whether an interval is so wide that its ends mean more than its middle."""
    return interval[1] - interval[0] > _WIDE * value


def ratio_range(value: float, interval: tuple[float, float]) -> tuple[str, str]:
    """Return a ratio, and its interval from low to high: `4.6x` and `4.5 to 4.7`."""
    decimals = _decimals(value, max(value - interval[0], interval[1] - value))
    return f"{value:.{decimals}f}x", f"{interval[0]:.{decimals}f} to {interval[1]:.{decimals}f}"


def within(difference: float | None) -> str:
    """Return the largest possible relative difference: `within 2.4 %`; empty if unknown or at least 100 %."""
    return "" if difference is None or difference >= 1 else f"within {_digits(100 * difference, 2)} %"


def size(count: float) -> str:
    """Return bytes with three digits in decimal units: `4.03 MB`."""
    for scale, unit in _SIZES:
        if count >= scale * 0.9995:
            return f"{_digits(count / scale, 3)} {unit}"
    return f"{count:.0f} B"


def memory(count: float) -> str:
    """Return bytes of memory, rounded because they vary from run to run: `46 MB`."""
    for scale, unit in _SIZES:
        if count >= scale * 0.9995:
            return f"{_digits(count / scale, 2 if unit == 'GB' else 1)} {unit}"
    return f"{count:.0f} B"


def percent(fraction: float, samples: int) -> str:
    """Return a fraction of `samples` in percent; `100 %` or `0 %` only for all or none of them."""
    decimals = 0 if samples <= _FEEDS_FOR_DECIMAL else 1
    text = f"{100 * fraction:.{decimals}f}"
    if fraction < 1 and float(text) >= 100:  # noqa: PLR2004 - percent
        text = "99" if decimals == 0 else "99.9"
    if fraction > 0 and float(text) == 0:
        text = "1" if decimals == 0 else "0.1"
    return f"{'100' if fraction == 1 else text} %"


def points(difference: float, samples: int) -> str:
    """Return a difference of two percentages, with its sign: `-0.3`; `0.0` without a sign."""
    text = f"{100 * difference:+.{0 if samples <= _FEEDS_FOR_DECIMAL else 1}f}"
    return text if float(text) else text[1:]


def decibel(value: float) -> str:
    """Return a ratio in dB: `41.3 dB`."""
    return f"{value:.1f} dB"


def counted(count: int, noun: str) -> str:
    """Return a count and its noun, with thousands separators: `1,000 feeds`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def _unit(value: float) -> tuple[float, str]:
    """Return scale and name of the largest time unit in which the value rounds to at least 1."""
    return next(((scale, unit) for scale, unit in _TIMES if value >= scale * 0.9995), _TIMES[-1])


def _digits(value: float, significant: int) -> str:
    """Return `value` to this many significant digits, but never rounded before the decimal point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    decimals = significant - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)  # 9.996 gains a digit before the point when rounded
    decimals = significant - 1 - math.floor(math.log10(abs(rounded)))
    return f"{value:.{max(0, decimals)}f}"


def _within(value: float, interval: tuple[float, float]) -> tuple[str, str]:
    """Return a value and the larger half of its interval, both to the same decimal."""
    spread = max(value - interval[0], interval[1] - value)
    decimals = _decimals(value, spread)
    return f"{value:.{decimals}f}", f"{max(spread, 10.0**-decimals):.{decimals}f}"


def _decimals(value: float, spread: float) -> int:
    """Return the number of decimals for a value with this `spread` to a side: to the first digit of it."""
    most = _MOST_DIGITS - 1 - math.floor(math.log10(abs(value))) if value else 1
    wanted = -math.floor(math.log10(float(f"{spread:.0e}"))) if spread > 0 else most - 1
    return max(0, min(wanted, most))
