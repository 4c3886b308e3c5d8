"""What a system says of itself, as texts: small files of /proc and /sys, and what a few programs print.

One of two files that also run on a device, side by side and the same bytes everywhere; `observer.py` reads the texts.
It needs Python 3.9 and its standard library, and knows nothing of edgeopt. All texts are in one mapping: a file's key
is its path without the leading slash, a program's is `$` and its name in `PROGRAMS`; `$cores` is which cores this
process may use, where it may not use all. A phone without Python prints the
same texts by `SHELL_PROBE`, and `texts_from_shell` takes them apart.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import struct
import subprocess
import time
from pathlib import Path

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Texts = Mapping[str, str]

ROOT = Path("/")
"""Where proc, sys, etc and usr are; a test points it to a made-up tree."""
LIMIT_S = 5
"""The longest that any program may take."""
LOOK_S = 0.25
MOST_BYTES = 2**20
"""What is read of a file at most; a server's /proc/cpuinfo has 400 kB."""
MOST_MATCHES = 128
"""How many files of one pattern are read at most; some kernels take 20 ms for the frequency of one core."""

CPUS, TREE = "sys/devices/system/cpu", "sys/firmware/devicetree/base"
THERMAL, SUPPLY = "sys/class/thermal", "sys/class/power_supply"
POLICIES = (f"{CPUS}/cpufreq/policy*", f"{CPUS}/cpu*/cpufreq")
"""What shares a clock; kernels before 4.3 have only the second."""
CLOCK_FILES = {
    "cur": "scaling_cur_freq",
    "max": "cpuinfo_max_freq",
    "allowed": "scaling_max_freq",
    "base": "base_frequency",
}
LIMIT_FILES = (
    "proc/meminfo",
    "proc/self/cgroup",
    *(f"sys/fs/cgroup/{name}" for name in ("cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")),
    *(f"sys/fs/cgroup/{name}" for name in ("memory.max", "memory/memory.limit_in_bytes")),
)
FACT_FILES = (
    *LIMIT_FILES,
    *("proc/cpuinfo", "etc/os-release", "usr/lib/os-release", "sys/hypervisor/type", "sys/devices/soc0/soc_id"),
    *(f"{TREE}/{name}" for name in ("model", "compatible", "hypervisor/compatible", "fw-cfg@*/compatible")),
    *(f"sys/class/dmi/id/{name}" for name in ("sys_vendor", "product_name")),
    *(f"{group}/{name}" for group in POLICIES for name in ("related_cpus", "scaling_governor", *CLOCK_FILES.values())),
)
FILES = (
    *FACT_FILES,
    "proc/loadavg",
    *(f"{THERMAL}/thermal_zone*/{name}" for name in ("type", "temp")),
    *(f"{THERMAL}/cooling_device*/{name}" for name in ("type", "cur_state", "max_state")),
    *(f"{CPUS}/cpu*/thermal_throttle/{name}_throttle_count" for name in ("core", "package")),
    *(f"{SUPPLY}/*/{name}" for name in ("type", "scope", "capacity", "status", "online")),
)
FACT_PROGRAMS = {
    "uname": "uname -srm",
    "nproc": "nproc",
    "bits": "getconf LONG_BIT",
    "libc": "sh -c 'getconf GNU_LIBC_VERSION 2>/dev/null || exec ldd --version 2>&1'",  # musl answers the second
    "exe": "readlink proc/thread-self/exe",
    "brand": "sysctl -n machdep.cpu.brand_string",
    "getprop": "getprop",
}
PROGRAMS = {
    **FACT_PROGRAMS,
    "battery": "dumpsys battery",
    "thermal": "dumpsys thermalservice",
    "vcgencmd": "vcgencmd get_throttled",
    "look": f"sh -c 'head -n 1 proc/stat; sleep {LOOK_S} 2>/dev/null || sleep 1; head -n 1 proc/stat'",
}
SHELL_PROBE = "\n".join(
    [
        # Each line of a text begins with where it comes from, so that no text can forge another one.
        'cd "${1:-/}" || exit 1',
        "LC_ALL=C; export LC_ALL",
        f"limit=; command -v timeout >/dev/null 2>&1 && limit='timeout {LIMIT_S}'",
        'run() { name=$1; shift; { $limit "$@" </dev/null 2>/dev/null; echo; } | sed "s/^/\\$$name:/"; }',
        f"grep -aH '' {' '.join(FILES)} 2>/dev/null",
        *(f"run {name} {command}" for name, command in PROGRAMS.items()),
        "echo '$end:'",
    ]
)
"""A script for any POSIX shell, busybox and toybox included; prints the texts of the tree `$1`, by default of `/`."""


def read_texts(files: Iterable[str], programs: Mapping[str, str], told: Texts | None = None) -> dict[str, str]:
    """Return the texts of this machine.

    Args:
        files: Patterns as in `FILES`.
        programs: Commands as in `PROGRAMS`. One whose text is known is not started.
        told: Texts that are known already.
    """
    paths = [path for pattern in files for path in _matching(pattern)]
    texts = {**_own_texts(), **(told or {}), **{path: _read(path) for path in paths}}
    texts.update({path: _read(path) for path in _group_limits(texts.get("proc/self/cgroup", ""))})
    texts.update({f"${name}": _say(command) for name, command in programs.items() if f"${name}" not in texts})
    return {key: text for key, text in texts.items() if text}


def look() -> str:
    """Return what the program `look` prints; takes a quarter of a second, in which nothing should be measured."""
    first = _read("proc/stat")
    time.sleep(LOOK_S)
    return "\n".join(stat.partition("\n")[0] for stat in (first, _read("proc/stat")))


def texts_from_shell(output: str) -> dict[str, str]:
    """Return the texts that `SHELL_PROBE` printed.

    Raises:
        ValueError: The output was cut off.
    """
    lines: dict[str, list[str]] = {}
    for line in output.replace("\r\n", "\n").split("\n"):
        key, text = _taken_apart(line)
        lines.setdefault(key, []).append(text)
    if "$end" not in lines:
        raise ValueError("the answer of the shell was cut off")
    texts = {key: _tidy("\n".join(parts)) for key, parts in lines.items() if key not in ("", "$end")}
    return {key: text for key, text in texts.items() if text}


def _taken_apart(line: str) -> tuple[str, str]:
    """Return whose line it is, and the line; the key is empty where it is nobody's."""
    if line.startswith("$"):
        key, _, text = line.partition(":")
        return (key, text) if key[1:] in PROGRAMS or key == "$end" else ("", "")
    for pattern in FILES:
        before, star, after = pattern.partition("*")
        # A name that stands for the star may hold colons, so what follows it must be found first.
        end = line.find(f"{after}:", len(before)) if line.startswith(before) else -1
        name = line[len(before) : end]
        if end >= 0 and "/" not in name and (star or not name):
            return before + name + after, line[end + len(after) + 1 :]
    return "", ""


def _own_texts() -> dict[str, str]:
    """Return what this Python can tell without a program, under that program's name."""
    kernel = os.uname()
    there = os.cpu_count() or 1
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(there))
    texts = {
        "$uname": f"{kernel.sysname} {kernel.release} {kernel.machine}",
        "$nproc": str(len(affinity)),
        "$cores": as_ranges(affinity) if len(affinity) < there else "",
        "$bits": str(struct.calcsize("P") * 8),
        "$python": platform.python_version(),
    }
    with contextlib.suppress(OSError, ValueError):
        texts["$memory"] = str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):
        texts["$libc"] = os.confstr("CS_GNU_LIBC_VERSION") or ""
    with contextlib.suppress(OSError):
        texts["$load"] = str(os.getloadavg()[0])
    with contextlib.suppress(OSError):
        # not /proc/self: an emulator that runs one program fakes that
        texts["$exe"] = str((ROOT / "proc/thread-self/exe").readlink())
    return texts


def _matching(pattern: str) -> list[str]:
    """Return the paths below `ROOT` that a pattern means, in the order of their numbers."""
    if "*" not in pattern:
        return [pattern]
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found = list(ROOT.glob(pattern))
    return sorted((path.relative_to(ROOT).as_posix() for path in found), key=by_number)[:MOST_MATCHES]


def _group_limits(control_groups: str) -> Iterator[str]:
    """Yield the files that may limit this process: its control groups, and those above them."""
    for line in control_groups.split("\n"):
        controllers, _, path = line.partition(":")[2].partition(":")
        names = ("memory.max", "cpu.max", "memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us")
        folder = f"sys/fs/cgroup/{controllers}".rstrip("/")
        for part in filter(None, path.split("/")):
            folder = f"{folder}/{part}"
            yield from (f"{folder}/{name}" for name in names)


def _read(path: str) -> str:
    """Return a file below `ROOT`; nothing where it cannot be read."""
    try:
        with (ROOT / path).open("rb") as file:
            return _tidy(file.read(MOST_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError):  # the latter for a NUL in a path
        return ""


def _say(command: str) -> str:
    """Return what a program prints; nothing where it does not exist, or takes too long."""
    try:
        done = subprocess.run(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_S,
            cwd=ROOT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return _tidy(done.stdout[:MOST_BYTES].decode("utf-8", "replace"))


def _tidy(text: str) -> str:
    """Return a text without space around it; the NULs of a device tree stand between its words."""
    return text.replace("\0", "\n").strip()


def as_ranges(cores: Iterable[int]) -> str:
    """Return numbers of cores as people write them: `0,4-7`."""
    ranges: list[list[int]] = []
    for core in sorted(set(cores)):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def in_ranges(text: str) -> set[int]:
    """Return the numbers of cores that `as_ranges` has written."""
    found: set[int] = set()
    for first, last in re.findall("([0-9]+)(?:-([0-9]+))?", text):
        found.update(range(int(first), int(last or first) + 1))
    return found


def libc(said: str) -> tuple[str, str]:
    """Return name and version of a C library by what it says of itself; both are nothing where it is unknown.

    Args:
        said: What glibc gives as `CS_GNU_LIBC_VERSION`, or what musl's loader prints without a program.
    """
    musl = re.search(r"^musl libc.*?^Version ([0-9.]+)", said, re.MULTILINE | re.DOTALL)
    if musl:
        return "musl", musl.group(1)
    glibc = re.match(r"glibc ([0-9.]+)", said)
    return ("glibc", glibc.group(1)) if glibc else ("", "")


def release(text: str) -> dict[str, str]:
    """Return the variables of an os-release; those are left out whose quotes do not match."""
    told = {}
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        with contextlib.suppress(ValueError):
            told[key.strip()] = " ".join(shlex.split(value, comments=True))
    return told


def number(text: str | None) -> int | None:
    """Return a whole number, None where it is none or absurd."""
    return int(text) if text and re.fullmatch("-?[0-9]{1,18}", text) else None


def real(text: str) -> float | None:
    """Return a number, None where it is none or absurd."""
    return float(text) if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,20})?", text) else None


def each(texts: Texts, pattern: str) -> list[tuple[str, str]]:
    """Return, for every text whose key a pattern means, what stands for its star, and the text."""
    before, _, after = pattern.partition("*")
    keys = [key for key in texts if key.startswith(before) and key.endswith(after)]
    found = [(key[len(before) : len(key) - len(after)], texts[key]) for key in sorted(keys, key=by_number)]
    return [(name, text) for name, text in found if name and "/" not in name]


def by_number(name: str) -> str:
    """Return a key that puts `cpu10` behind `cpu9`."""
    return re.sub("[0-9]+", lambda digits: digits.group().zfill(9), name)


def processors(texts: Texts) -> list[dict[str, str]]:
    """Return what /proc/cpuinfo says of each processor; the first entry is what stands above them."""
    found: list[dict[str, str]] = [{}]
    for line in texts.get("proc/cpuinfo", "").split("\n"):
        key, _, value = line.partition(":")
        if key.strip() == "processor":
            found.append({})
        found[-1].setdefault(key.strip(), value.strip())
    return found


def common(texts: Texts) -> dict[str, str]:
    """Return what /proc/cpuinfo says of the first processor, and of none of them."""
    return {key: value for processor in reversed(processors(texts)) for key, value in processor.items()}


def properties(texts: Texts) -> dict[str, str]:
    """Return what Android's getprop says; nothing elsewhere."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", texts.get("$getprop", ""), re.MULTILINE))


def policies(texts: Texts) -> dict[str, dict[str, str]]:
    """Return the files of each group of cores that share a clock, by the group's name."""
    for group in POLICIES:
        kind = group.partition("*")[0].rpartition("/")[2]
        found: dict[str, dict[str, str]] = {}
        for file in ("related_cpus", "scaling_governor", *CLOCK_FILES.values()):
            for name, text in each(texts, f"{group}/{file}"):
                found.setdefault(f"{kind}{name}", {})[file] = text
        if found:
            return {name: found[name] for name in sorted(found, key=by_number)}
    return {}


def meminfo(texts: Texts, name: str) -> int | None:
    """Return a line of /proc/meminfo in bytes."""
    line = re.search(rf"^{name}: *([0-9]{{1,15}}) kB", texts.get("proc/meminfo", ""), re.MULTILINE)
    return int(line.group(1)) * 1024 if line else None
