"""Rests between artifacts that run one after another, so that each begins as cool as the first one did."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edgeopt.measure.facts import Health

LEAST_REST_S = 30.0
"""Before the first artifact too, whatever its sensors say: processors save up a reserve for their highest clock."""
MOST_REST_S = 600.0
LOOK_S = 2.0
COOL_C = 2.0
"""How much warmer than the first artifact another one may begin."""


class Cooling:
    """Waits until a device is again as it was before the first artifact.

    Args:
        health: Looks at the device.
        stopping: Ends a rest at once when it is set.
        longest_s: How long a rest may take; so long it takes, too, where the device has no sensor.
    """

    def __init__(self, health: Callable[[], Health], stopping: threading.Event, longest_s: float) -> None:
        self._health = health
        self._stopping = stopping
        self._longest_s = min(longest_s, MOST_REST_S)
        self._first: Health | None = None

    def rest(self, tell: Callable[[str], None]) -> Health:
        """Rest, and return how the device is after it; the first rest is a short one, and all others go back to it.

        Raises:
            DeviceError: The device does not tell how it is.
        """
        until = time.monotonic() + self._longest_s
        tell("letting the device rest")
        self._stopping.wait(min(LEAST_REST_S, self._longest_s))
        now = self._health()
        if self._first is None:
            self._first = now
            return now
        while not is_as_cool(now, self._first) and time.monotonic() < until and not self._stopping.is_set():
            tell(_waiting(now, self._first))
            self._stopping.wait(max(0.0, min(LOOK_S, until - time.monotonic())))
            now = self._health()
        return now


def is_as_cool(now: Health, first: Health) -> bool:
    """Whether a device is known to be about as cool as at first, and not slowed by what it was not slowed by then."""
    if now.temperature_c is None or first.temperature_c is None:
        return False
    return now.temperature_c <= first.temperature_c + COOL_C and set(now.throttled) <= set(first.throttled)


def _waiting(now: Health, first: Health) -> str:
    if now.temperature_c is None or first.temperature_c is None:
        return "letting the device cool for as long as an artifact runs; it tells no temperature"
    return f"letting the device cool: {now.temperature_c:.0f} °C, wanted {first.temperature_c:.0f} °C"
