"""Facts of all known devices, asked in parallel, and the check of one device for each runner."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgeopt.devices import device_of
from edgeopt.devices.preflight import Misfit, Preflight
from edgeopt.devices.remote import NoPythonError
from edgeopt.errors import DeviceError, EdgeoptError, in_words
from edgeopt.measure.facts import RUNTIMES, find_doubts
from edgeopt.registry import find_backends
from edgeopt.requirements import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgeopt.devices.base import Device
    from edgeopt.devices.book import Entry
    from edgeopt.measure.facts import Facts, Health
    from edgeopt.registry import RegisteredBackend

LIMIT_S = 20.0
"""Longest wait for the slowest device in a list; ssh itself stops connecting after 10 s."""


@dataclass(slots=True)
class Sighting:
    """Findings about one device."""

    entry: Entry
    is_reachable: bool = False
    facts: Facts | None = None
    error: EdgeoptError | None = None
    """The reason why the facts are missing."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether the runner of a backend can work on a device."""

    backend: str
    requires: tuple[str, ...]
    misfit: Misfit | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that `edgeopt devices check` reports about one device."""

    facts: Facts
    health: Health
    provided: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    """Reasons to doubt numbers that are measured now."""
    fits: tuple[Fit, ...] = ()


def look(entries: Iterable[Entry], limit_s: float = LIMIT_S) -> list[Sighting]:
    """Ask all devices in parallel; return the findings within a time limit, in order.

    Args:
        entries: The devices; an unusable one gives a sighting with its problem.
        limit_s: Longest wait for the slowest.
    """
    wanted = runtimes()
    watches = [_Watch(entry, wanted) for entry in entries]
    until = time.monotonic() + limit_s
    for watch in watches:
        watch.thread.join(max(0.0, until - time.monotonic()))
    return [watch.end(limit_s) for watch in watches]


def inspect(device: Device, name: str) -> Inspection:
    """Return the facts of a connected device, and the misfit of each installed backend's runner.

    Args:
        device: The device.
        name: The user's name for it.

    Raises:
        DeviceError: It does not answer.
    """
    facts, health = device.facts(), device.health()
    doubts = tuple(find_doubts(health, health, {}))
    try:
        facts = replace(facts, runtimes=device.versions(runtimes()))
    except NoPythonError as error:  # a phone can still be measured by a benchmark program
        nothing_fits = Misfit(error.message, error.hint)
        return Inspection(facts, health, doubts=doubts, fits=_fits(lambda _: nothing_fits))
    preflight = Preflight(device, name)
    fits = _fits(lambda found: preflight.misfit(found.backend.requires, found.environment))
    return Inspection(facts, health, preflight.provided, doubts, fits)


def _fits(misfit: Callable[[RegisteredBackend], Misfit | None]) -> tuple[Fit, ...]:
    """Return, for each installed backend, the misfit that a function finds for its runner."""
    found = find_backends().backends
    return tuple(Fit(name, tuple(one.backend.requires), misfit(one)) for name, one in found.items())


def runtimes() -> list[str]:
    """Return the names of all distributions that runners require, after those that always explain a number."""
    wanted = [name for found in find_backends().backends.values() for name in names(found.backend.requires)]
    return list(dict.fromkeys([*RUNTIMES, *wanted]))


class _Watch:
    """One device, asked in its own thread."""

    def __init__(self, entry: Entry, wanted: Iterable[str]) -> None:
        self._wanted = wanted
        self._seen = Sighting(entry, error=entry.problem)
        self._device: Device | None = None
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def end(self, limit_s: float) -> Sighting:
        """Return the findings; close a device that has not answered."""
        is_late = self.thread.is_alive()
        seen = replace(self._seen)  # a copy: later findings of the thread do not count
        if is_late:
            seen.error = DeviceError(f"it gave no answer within {limit_s:g} s", hint="is it switched on?")
            with suppress(Exception):  # the thread still uses it, and ends with its own error
                if self._device is not None:
                    self._device.close()
        return seen

    def _ask(self) -> None:
        if self._seen.error is not None:
            return
        try:
            entry = self._seen.entry
            self._device = device_of(entry)
            with closing(self._device):
                self._device.connect()
                self._seen.is_reachable = True
                facts = self._device.facts()
                self._seen.facts = replace(facts, runtimes=self._device.versions(self._wanted))
        except EdgeoptError as error:
            self._seen.error = error
        except Exception as error:  # noqa: BLE001 - one device must not cost what is known of the others
            self._seen.error = DeviceError(in_words(error))
