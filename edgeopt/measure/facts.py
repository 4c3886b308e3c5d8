"""Facts and health of a device, and the doubts they raise about numbers measured on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import one_line
from edgeopt.measure import observer, system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OBSERVER_FILES = (Path(observer.__file__), Path(system.__file__))
"""Files that must lie side by side on a device for `import observer`."""
RUNTIMES = ("tensorflow", "keras", "ai-edge-litert", "numpy")
"""Distributions whose versions help to explain a result."""
BUSY_SHARE = 0.15
"""Share of the machine used by other processes above which a comparison is doubted."""
QUIET_GOVERNORS = ("performance",)
"""Governors that keep the clock constant; others follow the load, and interleaved rounds are full of pauses."""
GOVERNOR_COMMAND = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
HOT_C = 85.0
WIDE_SPREAD = 0.10
"""Relative spread of an artifact's rounds above which the machine was too noisy."""
SLOW_SHARE = 0.7
"""Share of its normal clock below which a processor counts as slowed."""
LITTLE_BATTERY_PERCENT = 20
"""Level below which phones begin to save power."""
LITTLE_MEMORY_BYTES = 128 * 2**20
"""About the size of a runtime with a small model; below this, the system begins to swap."""
MOST_ENTRIES, MOST = 1000, 1e300
_MOMENTS = (
    "load_average",
    "busy_share",
    "temperature_c",
    "temperature_zone",
    "frequencies_mhz",
    "throttled",
    "throttle_counts",
    "available_bytes",
    "battery_percent",
    "charging",
)
"""Values that may change during a measurement, so a run records them before and after."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a device, field for field as in the run; empty or 0 if not reported."""

    uri: str = ""
    machine: str = ""
    os: str = ""
    cpu: str = ""
    cores: int = 1
    memory_bytes: int = 0
    python: str = ""
    runtimes: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further facts, flat: `soc`, `board`, `core_types`, `kernel`, `libc`, `emulated` and more. If processes may not
    use all cores: `cores_used`, and `core_types_used` if there are several types."""

    @classmethod
    def from_dict(cls, found: Any) -> Facts:
        """Return the facts reported by a device; ignore unknown keys, use defaults for missing ones.

        Raises:
            ValueError: `found` is not a mapping, or a value has the wrong type.
        """
        return cls(**_checked(cls, found))


@dataclass(frozen=True, slots=True)
class Health:
    """State of a device at one moment; None for values that it does not report."""

    load_average: float | None = None
    """Average number of processes ready to run, over the last minute."""
    busy_share: float | None = None
    """Share of all cores in use at this moment."""
    governor: str | None = None
    """If groups of cores differ, each governor with its groups."""
    temperature_c: float | None = None
    cores_allowed: int = 1
    temperature_zone: str = ""
    """Sensor that reported `temperature_c`, the highest temperature."""
    frequencies_mhz: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By group of cores: `cur` now, `max` of the hardware, `allowed` at this moment, `base` without turbo."""
    throttled: tuple[str, ...] = ()
    """Causes that slow the processor at this moment."""
    throttle_counts: Mapping[str, int] = field(default_factory=dict)
    """How often the processor was slowed since boot; a Raspberry Pi reports only whether, as 0 or 1."""
    available_bytes: int | None = None
    battery_percent: int | None = None
    charging: bool | None = None
    """Whether power is external; None if unknown, or without a battery."""
    emulated: str = ""
    """Emulator that executes the instructions; empty on a real processor."""

    @classmethod
    def from_dict(cls, found: Any) -> Health:
        """Return the health reported by a device; ignore unknown keys, use defaults for missing ones.

        Raises:
            ValueError: `found` is not a mapping, or a value has the wrong type.
        """
        return cls(**_checked(cls, found))


def find_facts(uri: str) -> Facts:
    """Return the facts of this machine."""
    return Facts.from_dict({**observer.facts(), "uri": uri, "runtimes": find_runtimes(RUNTIMES)})


def find_health() -> Health:
    """Return the health of this machine; takes a quarter of a second, during which nothing should be measured."""
    return Health.from_dict(observer.health())


def summarise_health(before: Health, after: Health, spreads: Mapping[str, float]) -> dict[str, Any]:
    """Return the health of a measurement as recorded in the run, including its doubts.

    Args:
        before: Health just before the measurement.
        after: Health just after it.
        spreads: Relative spread of the rounds, by artifact; see `stats.round_spread`.
    """
    return {
        "governor": before.governor,
        "cores_allowed": before.cores_allowed,
        "emulated": before.emulated,
        **{name: [_as_json(getattr(moment, name)) for moment in (before, after)] for name in _MOMENTS},
        "doubts": find_doubts(before, after, spreads),
    }


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def find_doubts(before: Health, after: Health, spreads: Mapping[str, float]) -> list[str]:
    """Return reasons why the numbers may differ from those of a quiet device, each with a remedy.

    `docs/health-warnings.md` explains each of them.
    """
    return [
        *_about_noise(before, after, spreads),
        *_about_clocks(before, after),
        *_about_heat(before, after),
        *_about_supplies(before, after),
        *_about_reality(before),
    ]


def find_runtimes(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of the distributions that are installed here."""
    return observer.versions(distributions)


def cores_allowed() -> int:
    """Return how many cores this process may use, by its affinity and its control-group quota."""
    return observer.cores_allowed(observer.limits())


def memory_bytes() -> int:
    """Return the memory of this machine or the limit of its control group, in bytes; 0 if unknown."""
    return observer.memory_bytes(observer.limits())


def available_bytes() -> int:
    """Return the memory available to a new process, in bytes; the total if not reported."""
    return observer.available_bytes(observer.limits())


def about_governor(governor: str | None) -> str:
    """Return an unfinished sentence that a governor changes the clocks; empty if it does not."""
    if governor is None or governor in QUIET_GOVERNORS:
        return ""
    return f"the CPU governor is {governor}, so clocks change while measuring"


def _about_noise(before: Health, after: Health, spreads: Mapping[str, float]) -> Iterator[str]:
    busy = max((share for share in (before.busy_share, after.busy_share) if share is not None), default=0.0)
    if busy > BUSY_SHARE:
        yield f"other processes used {100 * busy:.0f} % of the machine; end them and measure again"
    noisy = sorted(name for name, spread in spreads.items() if spread > WIDE_SPREAD)
    if noisy:
        yield (
            f"the rounds of {', '.join(noisy)} lay more than {100 * WIDE_SPREAD:.0f} % apart; measure again on a quiet"
            " machine or with more --seconds"
        )


def _about_clocks(before: Health, after: Health) -> Iterator[str]:
    if said := about_governor(before.governor) or about_governor(after.governor):
        yield f"{said}; set it with: {GOVERNOR_COMMAND}"
    if slowed := _slowed_clock(after):
        yield (
            f"the clock of the processor was {slowed[0]} of {slowed[1]} MHz after the run, so something slows it;"
            " cool the device, check its power supply and measure again"
        )


def _slowed_clock(health: Health) -> tuple[int, int] | None:
    """Return the most slowed clock and its normal value, in MHz; None if no clock is slowed.

    If the governor follows the load, the clock at rest is meaningless, so only the highest allowed one counts.
    Among cores of one kind the fastest counts: the others may rest, or share a clock that one core may have alone.
    """
    fastest: dict[int, int] = {}
    for clocks in health.frequencies_mhz.values():
        normal = clocks.get("base") or clocks.get("max")
        names = ("allowed", "cur") if health.governor in QUIET_GOVERNORS else ("allowed",)
        shown = [clocks[name] for name in names if name in clocks]
        if normal and shown:
            fastest[normal] = max(min(shown), fastest.get(normal, 0))
    slow = [(mhz, normal) for normal, mhz in fastest.items() if mhz < SLOW_SHARE * normal]
    return min(slow, key=lambda both: both[0] / both[1], default=None)


def _about_heat(before: Health, after: Health) -> Iterator[str]:
    hottest = max((before, after), key=lambda health: health.temperature_c or 0.0)
    if hottest.temperature_c is not None and hottest.temperature_c > HOT_C:
        sensor = f" ({hottest.temperature_zone})" if hottest.temperature_zone else ""
        yield (
            f"the processor reached {hottest.temperature_c:.0f} °C{sensor} and may have slowed down;"
            " let it cool and measure again"
        )
    flags = [*before.throttled, *after.throttled]
    flags += [
        name.replace("_", " ")
        for name, count in after.throttle_counts.items()
        if count > before.throttle_counts.get(name, count)
    ]
    if flags:
        yield (
            f"the device was throttled during the run ({', '.join(dict.fromkeys(flags))});"
            " cool it, check its power supply and measure again"
        )


def _about_supplies(before: Health, after: Health) -> Iterator[str]:
    percents = [health.battery_percent for health in (before, after) if health.battery_percent is not None]
    if percents and min(percents) < LITTLE_BATTERY_PERCENT:
        yield f"the battery was at {min(percents)} %, and devices save power then; charge it and measure again"
    if before.charging is False or after.charging is False:
        yield "the device ran on its battery, and many are slower then; connect it to power and measure again"
    free = [health.available_bytes for health in (before, after) if health.available_bytes is not None]
    if free and min(free) < LITTLE_MEMORY_BYTES:
        yield f"only {min(free) / 2**20:.0f} MiB of memory were free; end other processes and measure again"


def _about_reality(before: Health) -> Iterator[str]:
    if before.emulated:
        yield (
            f"the processor is emulated ({before.emulated}), so these are not the times of a real one;"
            " measure on the device itself"
        )


def _checked(kind: type[Facts | Health], found: Any) -> dict[str, Any]:
    """Return the members of a dataclass that a device reported, each with the right type.

    Raises:
        ValueError: `found` is not a mapping, or a value has the wrong type.
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"the device did not answer its {kind.__name__.lower()}, but {one_line(found)}")  # noqa: TRY004
    checked = {}
    for member in fields(kind):
        if member.name in found:
            try:
                checked[member.name] = _CHECKS[str(member.type)](found[member.name])
            except TypeError:
                said = one_line(repr(found[member.name]))
                raise ValueError(f"the device answered for {member.name}: {said}") from None
    return checked


def _text(value: Any) -> str:
    """Return untrusted text without characters that a terminal would interpret."""
    if not isinstance(value, str):
        raise TypeError
    return "".join(char for char in one_line(value) if char.isprintable())


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise TypeError
    return value


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
        raise TypeError
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _flat(value: Any) -> Any:
    """Return text, a number or a boolean."""
    check = {int: _whole, bool: _flag, float: _real}.get(type(value), _text)
    return check(value)


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _mapping(check: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def check_all(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or len(value) > MOST_ENTRIES:
            raise TypeError
        return {_text(name): check(item) for name, item in value.items()}

    return check_all


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MOST_ENTRIES:
        raise TypeError
    return tuple(map(_text, value))


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _whole,
    "str | None": _or_none(_text),
    "int | None": _or_none(_whole),
    "float | None": _or_none(_real),
    "bool | None": _or_none(_flag),
    "tuple[str, ...]": _texts,
    "Mapping[str, str]": _mapping(_text),
    "Mapping[str, int]": _mapping(_whole),
    "Mapping[str, Any]": _mapping(_flat),
    "Mapping[str, Mapping[str, int]]": _mapping(_mapping(_whole)),
}
"""Checks and conversions by annotation; each raises TypeError to reject a value."""
