"""Facts and health of a machine, read on the host and, by the same bytes, on every device.

It needs Python 3.9, its standard library and `system.py` beside it, and is independent of edgeopt. Everything is parsed
from the texts of `system.py`, so that the host uses the same parsers for a device without Python. Missing or garbage
values are None, empty or omitted.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter

if __package__:
    from edgeopt.measure import system
else:
    import system  # type: ignore[import-not-found, no-redef]  # on a device the two files lie side by side

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from edgeopt.measure.system import Texts

# Names by implementer and part, both as in /proc/cpuinfo. Source: util-linux, sys-utils/lscpu-arm.c; for Qualcomm
# and for cores since 2023: Linux, arch/arm64/include/asm/cputype.h.
_CORES = {
    "0x41": """b76:ARM1176 c05:Cortex-A5 c07:Cortex-A7 c08:Cortex-A8 c09:Cortex-A9 c0d:Cortex-A17 c0e:Cortex-A17
        c0f:Cortex-A15 d01:Cortex-A32 d02:Cortex-A34 d03:Cortex-A53 d04:Cortex-A35 d05:Cortex-A55 d06:Cortex-A65
        d07:Cortex-A57 d08:Cortex-A72 d09:Cortex-A73 d0a:Cortex-A75 d0b:Cortex-A76 d0c:Neoverse-N1 d0d:Cortex-A77
        d0e:Cortex-A76AE d40:Neoverse-V1 d41:Cortex-A78 d42:Cortex-A78AE d43:Cortex-A65AE d44:Cortex-X1 d46:Cortex-A510
        d47:Cortex-A710 d48:Cortex-X2 d49:Neoverse-N2 d4a:Neoverse-E1 d4b:Cortex-A78C d4c:Cortex-X1C d4d:Cortex-A715
        d4e:Cortex-X3 d4f:Neoverse-V2 d80:Cortex-A520 d81:Cortex-A720 d82:Cortex-X4 d83:Neoverse-V3AE d84:Neoverse-V3
        d85:Cortex-X925 d87:Cortex-A725 d89:Cortex-A720AE d8e:Neoverse-N3""",
    "0x48": "d01:Kunpeng-920 d40:Cortex-A76",
    "0x4e": "000:Denver 003:Denver-2 004:Carmel",
    "0x51": """001:Oryon-X1 06f:Krait 200:Kryo 201:Kryo 205:Kryo 211:Kryo 800:Kryo-2XX-Gold 801:Kryo-2XX-Silver
        802:Kryo-3XX-Gold 803:Kryo-3XX-Silver 804:Kryo-4XX-Gold 805:Kryo-4XX-Silver""",
    "0x53": "001:Exynos-M1 002:Exynos-M3 003:Exynos-M4 004:Exynos-M5",
    "0x61": "022:Icestorm-M1 023:Firestorm-M1 032:Blizzard-M2 033:Avalanche-M2",
    "0xc0": "ac3:Ampere-1 ac4:Ampere-1a",
}
CORE_NAMES = {
    (implementer, f"0x{part}"): name
    for implementer, names in _CORES.items()
    for part, _, name in (entry.partition(":") for entry in names.split())
}
INT8_FEATURES = ("asimddp", "i8mm", "avx512_vnni", "avx_vnni", "amx_int8")
"""Instructions that speed up int8, as named in /proc/cpuinfo; asimddp is Arm's dot product."""
# Source: Raspberry Pi's documentation, vcgencmd, get_throttled. Bits 16 and up stay set until the next boot.
PI_NOW = {0: "under-voltage", 1: "Arm frequency capped", 2: "throttled", 3: "soft temperature limit"}
PI_SINCE_START = {bit + 16: f"{text} has occurred" for bit, text in PI_NOW.items()}
# Source: Android's PowerManager, THERMAL_STATUS_NONE and up.
ANDROID_THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_SLOWS_CPU = re.compile("cpu|processor|powerclamp|pause", re.IGNORECASE)
"""Cooling-device types that slow the processor; others are fans, GPUs, modems and chargers."""


def facts() -> dict[str, Any]:
    """Return the facts of this machine; see `facts_from_texts`."""
    return facts_from_texts(system.read_texts(system.FACT_FILES, system.FACT_PROGRAMS))


def health() -> dict[str, Any]:
    """Return the health of this machine; takes a quarter of a second, during which nothing should be measured."""
    return health_from_texts(system.read_texts(system.FILES, system.PROGRAMS, {"$look": system.look()}))


def limits() -> dict[str, str]:
    """Return the texts for `cores_allowed`, `memory_bytes` and `available_bytes` without starting a program."""
    return system.read_texts(system.LIMIT_FILES, {})


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions, by name, of the distributions that are installed in this Python."""
    from importlib import metadata  # slower than everything else on a slow device, and rarely needed

    found = {}
    for name in names:
        # an interrupted installation lacks a version, or any metadata
        with contextlib.suppress(metadata.PackageNotFoundError, KeyError, ValueError):
            found[name] = metadata.version(name)
    return {name: version for name, version in found.items() if version}


def facts_from_texts(texts: Texts) -> dict[str, Any]:
    """Return the facts of a machine, flat and ready for JSON, with the rest flat under `details`."""
    kind, kernel, machine = (*texts.get("$uname", "").split(), "", "", "")[:3]
    common, properties, cores = system.common(texts), system.properties(texts), _core_types(texts)
    name = _os_name(texts, properties)
    details = {
        "soc": _soc(texts, common, properties),
        "board": _board(texts, properties),
        "core_types": cores,
        "cores_used": (used := texts.get("$cores", "")),
        # redundant if all cores are of one kind
        "core_types_used": _core_types(texts, system.in_ranges(used)) if used and " + " in cores else "",
        "kernel": kernel,
        "libc": _libc(texts, properties),
        "userland_bits": {"32": 32, "64": 64}.get(texts.get("$bits", "")),
        "abi": properties.get("ro.product.cpu.abi", ""),
        "int8_features": _int8_features(common),
        "virtual": _virtual(texts, common),
        "emulated": _emulated(texts),
    }
    return {
        "machine": machine,
        "os": ", ".join(part for part in (name, f"{kind} {kernel}".strip()) if part),
        "cpu": _cpu(texts, common, cores) or machine,
        "cores": cores_allowed(texts),
        "memory_bytes": memory_bytes(texts),
        "python": texts.get("$python", ""),
        "details": {key: value for key, value in details.items() if value},
    }


def health_from_texts(texts: Texts) -> dict[str, Any]:
    """Return the health of a machine, ready for JSON; None for values it does not report."""
    policies = system.policies(texts)
    temperature_c, zone = _hottest(texts)
    percent, charging = _battery(texts)
    pi_bits = re.match(r"throttled=0x([0-9a-fA-F]{1,8})\b", texts.get("$vcgencmd", ""))
    pi = int(pi_bits.group(1), 16) if pi_bits else None
    return {
        "load_average": system.real((texts.get("proc/loadavg") or texts.get("$load", "")).partition(" ")[0]),
        "busy_share": _busy_share(texts.get("$look", "")),
        "governor": _governor(policies),
        "temperature_c": temperature_c,
        "cores_allowed": cores_allowed(texts),
        "temperature_zone": zone,
        "frequencies_mhz": {name: clocks for name, policy in policies.items() if (clocks := _clocks(policy))},
        "throttled": _throttled(texts, pi or 0),
        "throttle_counts": _throttle_counts(texts, pi),
        "available_bytes": available_bytes(texts) or None,
        "battery_percent": percent,
        "charging": charging,
        "emulated": _emulated(texts),
    }


def _core_types(texts: Texts, only: Collection[int] = ()) -> str:
    """Return the types of Arm cores, fastest first: `4x Cortex-A76 at 2.40 GHz + 4x Cortex-A55 at 1.80 GHz`.

    Args:
        texts: Texts of the machine.
        only: Cores to count; all if empty.
    """
    maxima: dict[str, int] = {}
    for name, policy in system.policies(texts).items():
        cores = policy.get("related_cpus", re.sub("[^0-9]", "", name)).split()
        maxima.update(dict.fromkeys(cores, _clocks(policy).get("max", 0)))
    common, counts = system.common(texts), Counter[tuple[str, int]]()
    for processor in system.processors(texts)[1:]:
        if only and system.number(processor["processor"]) not in only:
            continue
        # kernels before 3.8 print it once for all cores
        implementer, part = (processor.get(key) or common.get(key) for key in ("CPU implementer", "CPU part"))
        if not implementer or not part:
            return ""
        name = CORE_NAMES.get((implementer, part), f"part {part} of implementer {implementer}")
        counts[name, maxima.get(processor["processor"], 0)] += 1
    kinds = sorted(counts.items(), key=lambda kind: -kind[0][1])
    return " + ".join(f"{n}x {name}" + (f" at {mhz / 1000:.2f} GHz" if mhz else "") for (name, mhz), n in kinds)


def _cpu(texts: Texts, common: Mapping[str, str], cores: str) -> str:
    """Return the processor's name; on Arm its cores, since the kernel names the board there."""
    named = [common.get(key, "") for key in ("model name", "Model", "Hardware")]
    names = (re.sub(r" at [0-9.]+ GHz", "", cores), *named, texts.get("$brand", ""))
    return next((name for name in names if name), "")


def _os_name(texts: Texts, properties: Mapping[str, str]) -> str:
    """Return the name of the system as its users know it; empty if only the kernel is known."""
    if release := properties.get("ro.build.version.release"):
        return f"Android {release}"
    said = texts.get("etc/os-release") or texts.get("usr/lib/os-release", "")
    return system.release(said).get("PRETTY_NAME", "")


def _soc(texts: Texts, common: Mapping[str, str], properties: Mapping[str, str]) -> str:
    """Return the chip; if a device tree has several names, the last one is the chip's."""
    tree = texts.get(f"{system.TREE}/compatible", "").split("\n")[1:]
    android = " ".join(properties.get(f"ro.soc.{name}", "") for name in ("manufacturer", "model")).strip()
    others = (texts.get("sys/devices/soc0/soc_id"), properties.get("ro.board.platform"), common.get("Hardware"))
    return next((name for name in (android, *tree[-1:], *others) if name), "")


def _board(texts: Texts, properties: Mapping[str, str]) -> str:
    """Return the product that contains the chip."""
    android = " ".join(properties.get(f"ro.product.{name}", "") for name in ("manufacturer", "model")).strip()
    dmi = " ".join(texts.get(f"sys/class/dmi/id/{name}", "") for name in ("sys_vendor", "product_name")).strip()
    return android or texts.get(f"{system.TREE}/model", "") or dmi


def _libc(texts: Texts, properties: Mapping[str, str]) -> str:
    """Return the C library and its version, for example `glibc 2.36`."""
    name, version = system.libc(texts.get("$libc", ""))
    return f"{name} {version}" if name else "bionic" if properties else ""


def _int8_features(common: Mapping[str, str]) -> str:
    """Return which of `INT8_FEATURES` the processor has; empty if it does not list its features."""
    told = (common.get("Features") or common.get("flags") or "").split()
    return " ".join(name for name in INT8_FEATURES if name in told) or ("none" if told else "")


def _virtual(texts: Texts, common: Mapping[str, str]) -> str:
    """Return the hypervisor of a virtual machine; empty on a real one."""
    if _is_qemu(texts):
        return "qemu"
    if "hypervisor" in common.get("flags", "").split():
        return texts.get("sys/hypervisor/type") or texts.get("sys/class/dmi/id/sys_vendor") or "a hypervisor"
    return texts.get("sys/hypervisor/type") or texts.get(f"{system.TREE}/hypervisor/compatible", "").partition("\n")[0]


def _is_qemu(texts: Texts) -> bool:
    """Return whether QEMU provides this machine, virtual or emulated."""
    firmware = [text for _, text in system.each(texts, f"{system.TREE}/fw-cfg@*/compatible") if "qemu" in text]
    return bool(firmware) or texts.get("sys/class/dmi/id/sys_vendor") == "QEMU"


def _emulated(texts: Texts) -> str:
    """Return the emulator that executes the processor's instructions; empty if none is detected."""
    common, properties = system.common(texts), system.properties(texts)
    machine = texts.get("$uname", "").rpartition(" ")[2]
    foreign = machine.startswith(("aarch64", "arm")) and "vendor_id" in common
    if foreign or texts.get("$exe", "").rpartition("/")[2].startswith("qemu-"):
        return "qemu-user"
    if "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu")):
        return "Android emulator"
    if common.get("vendor_id") == "VirtualApple":
        return "Rosetta"
    # QEMU's own clock ticks at 62.5 MHz, and the kernel doubles that; as a hypervisor QEMU passes on the real clock
    own_clock = _is_qemu(texts) and common.get("BogoMIPS") == "125.00"
    return "qemu" if own_clock or "QEMU TCG" in common.get("model name", "") else ""


def cores_allowed(texts: Texts) -> int:
    """Return how many cores a process may use, by its affinity and control-group quotas."""
    told = system.number(texts.get("$nproc")) or len(system.processors(texts)) - 1
    quotas = [text.split() for key, text in texts.items() if key.endswith("/cpu.max")]
    quotas += [
        [text, texts.get(key.replace("quota_us", "period_us"), "")]
        for key, text in texts.items()
        if key.endswith("/cpu.cfs_quota_us")
    ]
    numbers = [(system.number(pair[0]), system.number(pair[-1])) for pair in quotas if pair]
    whole = [max(1, quota // period) for quota, period in numbers if quota and period and quota > 0 and period > 0]
    return max(1, min([told, *whole]))


def memory_bytes(texts: Texts) -> int:
    """Return the memory of a machine or the limit of a control group, in bytes; 0 if unknown."""
    total = system.meminfo(texts, "MemTotal") or system.number(texts.get("$memory"))
    groups = [text for key, text in texts.items() if key.endswith(("/memory.max", "/memory.limit_in_bytes"))]
    return min((size for size in (total, *map(system.number, groups)) if size and size > 0), default=0)


def available_bytes(texts: Texts) -> int:
    """Return the memory available to a new process, in bytes; the total if not reported."""
    limit, available = memory_bytes(texts), system.meminfo(texts, "MemAvailable")
    return limit if available is None else min(available, limit or available)


def _busy_share(look: str) -> float | None:
    """Return the share of all cores in use between two first lines of /proc/stat."""
    ticks = []
    for line in look.split("\n"):
        counts = [system.number(count) for count in line.split()[1:9]]  # user nice system idle iowait irq softirq steal
        if len(counts) == 8 and None not in counts:  # noqa: PLR2004 - the fields named above
            ticks.append([count or 0 for count in counts])
    if len(ticks) != 2:  # noqa: PLR2004 - before and after
        return None
    spent = [after - before for before, after in zip(*ticks)]  # noqa: B905 - Python 3.9 has no `strict`
    # the iowait count can decrease
    return min(1.0, max(0.0, 1 - (spent[3] + spent[4]) / sum(spent))) if sum(spent) > 0 else None


def _clocks(policy: Mapping[str, str]) -> dict[str, int]:
    """Return clocks in MHz: `cur` now, `max` of the hardware, `allowed` at this moment, `base` without turbo."""
    numbers = {name: system.number(policy.get(file)) or 0 for name, file in system.CLOCK_FILES.items()}
    return {name: khz // 1000 for name, khz in numbers.items() if khz > 0}


def _governor(policies: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return the CPU governor; if policies differ, each governor with its policies."""
    groups: dict[str, list[str]] = {}
    for name, policy in policies.items():
        if governor := policy.get("scaling_governor"):
            groups.setdefault(governor, []).append(name)
    if len(groups) > 1:
        return ", ".join(f"{governor} ({' '.join(names)})" for governor, names in groups.items())
    return next(iter(groups), None)


def _hottest(texts: Texts) -> tuple[float | None, str]:
    """Return the highest temperature in degrees Celsius and its sensor; Android's if the kernel lists none."""
    readings = []
    for zone, text in system.each(texts, f"{system.THERMAL}/thermal_zone*/temp"):
        celsius = (system.number(text) or 0) / 1000
        readings.append((celsius, texts.get(f"{system.THERMAL}/thermal_zone{zone}/type", f"thermal_zone{zone}")))
    if not readings:
        said = texts.get("$thermal", "")
        now = said.partition("Current temperatures from HAL")[2] or said
        for value, name in re.findall(r"\{mValue=([^,]*), mType=0, mName=([^,}]*)", now):  # type 0: processor
            readings.append((system.real(value) or 0, name))
    # disabled sensors report 0 or an impossible temperature
    return max((reading for reading in readings if 1 <= reading[0] <= 150), default=(None, ""))  # noqa: PLR2004


def _throttled(texts: Texts, pi: int) -> list[str]:
    """Return the causes that slow the processor at this moment."""
    found = [text for bit, text in PI_NOW.items() if pi >> bit & 1]
    for number, text in system.each(texts, f"{system.THERMAL}/cooling_device*/cur_state"):
        kind = texts.get(f"{system.THERMAL}/cooling_device{number}/type", "")
        if _SLOWS_CPU.search(kind) and (system.number(text) or 0) > 0:
            most = texts.get(f"{system.THERMAL}/cooling_device{number}/max_state", "?")
            found.append(f"{kind} at {text} of {most}")
    status = re.search(r"^\s*Thermal Status: ([1-6])$", texts.get("$thermal", ""), re.MULTILINE)
    return [*found, *([f"thermal status {ANDROID_THERMAL[int(status.group(1))]}"] if status else [])]


def _throttle_counts(texts: Texts, pi: int | None) -> dict[str, int]:
    """Return how often the processor was slowed since boot; a Pi reports only whether, as 0 or 1."""
    counts = {} if pi is None else {text: pi >> bit & 1 for bit, text in PI_SINCE_START.items()}
    for kind in ("core", "package"):
        name = f"{kind}_throttle_count"
        found = [
            max(0, system.number(text) or 0)
            for _, text in system.each(texts, f"{system.CPUS}/cpu*/thermal_throttle/{name}")
        ]
        if found:
            counts[name] = sum(found) if kind == "core" else max(found)
    return counts


def _battery(texts: Texts) -> tuple[int | None, bool | None]:
    """Return the battery level in percent and whether power is external; None without a battery."""
    said = texts.get("$battery", "")
    if level := re.search(r"^\s*level: ([0-9]{1,3})$", said, re.MULTILINE):
        powered = re.findall(r"^\s*\w+ powered: (true|false)$", said, re.MULTILINE)
        return _percent([int(level.group(1))]), "true" in powered if powered else None
    percents, states, outside = [], [], []
    for name, kind in system.each(texts, f"{system.SUPPLY}/*/type"):
        capacity, status, scope, online = (
            texts.get(f"{system.SUPPLY}/{name}/{file}", "") for file in ("capacity", "status", "scope", "online")
        )
        if kind == "Battery" and scope != "Device":  # not the battery of a mouse
            percents.append(system.number(capacity))
            states.append(status)
        elif kind != "Battery" and online:
            outside.append(online != "0")
    if not states:
        return None, None
    charging = True if any(outside) or {"Charging", "Full"} & set(states) else None
    if charging is None and (outside or "Discharging" in states):
        charging = False
    return _percent(percents), charging


def _percent(values: Iterable[int | None]) -> int | None:
    """Return the lowest value that is a valid percentage."""
    return min((value for value in values if value is not None and 0 <= value <= 100), default=None)  # noqa: PLR2004
