"""Rests between consecutive artifacts, so that each starts as cool as the first one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edgeopt.measure.facts import Health

LEAST_REST_S = 30.0
"""Also before the first artifact, whatever the sensors show: processors build up a reserve for their highest clock."""
MOST_REST_S = 600.0
LOOK_S = 2.0
COOL_C = 2.0
"""Degrees Celsius by which another artifact may start warmer than the first one."""


class Cooling:
    """Waits until a device is as cool as before the first artifact.

    Args:
        health: Returns the health of the device.
        stopping: Ends a rest at once when set.
        longest_s: Maximum length of a rest, and its full length if the device lacks a sensor.
    """

    def __init__(self, health: Callable[[], Health], stopping: threading.Event, longest_s: float) -> None:
        self._health = health
        self._stopping = stopping
        self._longest_s = min(longest_s, MOST_REST_S)
        self._first: Health | None = None

    def rest(self, tell: Callable[[str], None]) -> Health:
        """Rest and return the health after it; the first rest is short and sets the goal of all others.

        Raises:
            DeviceError: The device does not report its health.
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
    """Return whether a device is known to be about as cool as at first, without new causes of throttling."""
    if now.temperature_c is None or first.temperature_c is None:
        return False
    return now.temperature_c <= first.temperature_c + COOL_C and set(now.throttled) <= set(first.throttled)


def _waiting(now: Health, first: Health) -> str:
    if now.temperature_c is None or first.temperature_c is None:
        return "letting the device cool for as long as an artifact runs; it tells no temperature"
    return f"letting the device cool: {now.temperature_c:.0f} °C, wanted {first.temperature_c:.0f} °C"
