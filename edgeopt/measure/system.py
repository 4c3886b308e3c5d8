"""Facts of a system as texts: small files of /proc and /sys, and the output of a few programs.

One of two files that also run on a device, side by side and the same bytes everywhere; `observer.py` parses the texts.
It needs Python 3.9 and its standard library, and is independent of edgeopt. All texts are in one mapping: the key of a
file is its path without the leading slash, that of a program is `$` and its name in `PROGRAMS`; `$cores` lists the
cores this process may use if it may not use all. A phone without Python prints the same texts with `SHELL_PROBE`, and
`texts_from_shell` parses them.
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
"""Parent of proc, sys, etc and usr; a test points it to a fake tree."""
LIMIT_S = 5
"""Time limit of a program, in seconds."""
LOOK_S = 0.25
MOST_BYTES = 2**20
"""Maximum size read from a file; a server's /proc/cpuinfo has 400 kB."""
MOST_MATCHES = 128
"""Maximum number of files read per pattern; some kernels take 20 ms for the frequency of one core."""

CPUS, TREE = "sys/devices/system/cpu", "sys/firmware/devicetree/base"
THERMAL, SUPPLY = "sys/class/thermal", "sys/class/power_supply"
POLICIES = (f"{CPUS}/cpufreq/policy*", f"{CPUS}/cpu*/cpufreq")
"""Groups of cores that share a clock; kernels before 4.3 have only the second."""
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
    "libc": "sh -c 'getconf GNU_LIBC_VERSION 2>/dev/null || exec ldd --version 2>&1'",  # musl has only the second
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
        # Each line of a text begins with its source, so that no text can forge another one.
        'cd "${1:-/}" || exit 1',
        "LC_ALL=C; export LC_ALL",
        f"limit=; command -v timeout >/dev/null 2>&1 && limit='timeout {LIMIT_S}'",
        'run() { name=$1; shift; { $limit "$@" </dev/null 2>/dev/null; echo; } | sed "s/^/\\$$name:/"; }',
        f"grep -aH '' {' '.join(FILES)} 2>/dev/null",
        *(f"run {name} {command}" for name, command in PROGRAMS.items()),
        "echo '$end:'",
    ]
)
"""Script for any POSIX shell, including busybox and toybox; prints the texts of the tree `$1`, default `/`."""


def read_texts(files: Iterable[str], programs: Mapping[str, str], told: Texts | None = None) -> dict[str, str]:
    """Return the texts of this machine.

    Args:
        files: Patterns as in `FILES`.
        programs: Commands as in `PROGRAMS`. Those with a known text are not started.
        told: Texts already known.
    """
    paths = [path for pattern in files for path in _matching(pattern)]
    texts = {**_own_texts(), **(told or {}), **{path: _read(path) for path in paths}}
    texts.update({path: _read(path) for path in _group_limits(texts.get("proc/self/cgroup", ""))})
    texts.update({f"${name}": _say(command) for name, command in programs.items() if f"${name}" not in texts})
    return {key: text for key, text in texts.items() if text}


def look() -> str:
    """Return the output of the program `look`; takes a quarter of a second, during which nothing should be measured."""
    first = _read("proc/stat")
    time.sleep(LOOK_S)
    return "\n".join(stat.partition("\n")[0] for stat in (first, _read("proc/stat")))


def texts_from_shell(output: str) -> dict[str, str]:
    """Return the texts printed by `SHELL_PROBE`.

    Raises:
        ValueError: The output is incomplete.
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
    """Return the key of a line, and its text; both are empty if the key is unknown."""
    if line.startswith("$"):
        key, _, text = line.partition(":")
        return (key, text) if key[1:] in PROGRAMS or key == "$end" else ("", "")
    for pattern in FILES:
        before, star, after = pattern.partition("*")
        # The name matched by the star may contain colons, so the part after it must be found first.
        end = line.find(f"{after}:", len(before)) if line.startswith(before) else -1
        name = line[len(before) : end]
        if end >= 0 and "/" not in name and (star or not name):
            return before + name + after, line[end + len(after) + 1 :]
    return "", ""


def _own_texts() -> dict[str, str]:
    """Return the texts that Python has without a program, under that program's name."""
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
        # not /proc/self, which an emulator of a single program fakes
        texts["$exe"] = str((ROOT / "proc/thread-self/exe").readlink())
    return texts


def _matching(pattern: str) -> list[str]:
    """Return the paths below `ROOT` that match a pattern, in numeric order."""
    if "*" not in pattern:
        return [pattern]
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found = list(ROOT.glob(pattern))
    return sorted((path.relative_to(ROOT).as_posix() for path in found), key=by_number)[:MOST_MATCHES]


def _group_limits(control_groups: str) -> Iterator[str]:
    """Yield the files that may limit this process, of its control groups and their parents."""
    for line in control_groups.split("\n"):
        controllers, _, path = line.partition(":")[2].partition(":")
        names = ("memory.max", "cpu.max", "memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us")
        folder = f"sys/fs/cgroup/{controllers}".rstrip("/")
        for part in filter(None, path.split("/")):
            folder = f"{folder}/{part}"
            yield from (f"{folder}/{name}" for name in names)


def _read(path: str) -> str:
    """Return the text of a file below `ROOT`; empty if it cannot be read."""
    try:
        with (ROOT / path).open("rb") as file:
            return _tidy(file.read(MOST_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return ""


def _say(command: str) -> str:
    """Return the output of a program; empty if it is missing or takes too long."""
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
    """Return a stripped text; the NULs between the words of a device tree become newlines."""
    return text.replace("\0", "\n").strip()


def as_ranges(cores: Iterable[int]) -> str:
    """Return core numbers as ranges: `0,4-7`."""
    ranges: list[list[int]] = []
    for core in sorted(set(cores)):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def in_ranges(text: str) -> set[int]:
    """Return the core numbers written by `as_ranges`."""
    found: set[int] = set()
    for first, last in re.findall("([0-9]+)(?:-([0-9]+))?", text):
        found.update(range(int(first), int(last or first) + 1))
    return found


def libc(said: str) -> tuple[str, str]:
    """Return the name and version of a C library; both are empty if it is unknown.

    Args:
        said: The `CS_GNU_LIBC_VERSION` of glibc, or the output of musl's loader without a program.
    """
    musl = re.search(r"^musl libc.*?^Version ([0-9.]+)", said, re.MULTILINE | re.DOTALL)
    if musl:
        return "musl", musl.group(1)
    glibc = re.match(r"glibc ([0-9.]+)", said)
    return ("glibc", glibc.group(1)) if glibc else ("", "")


def release(text: str) -> dict[str, str]:
    """Return the variables of an os-release; those with unmatched quotes are omitted."""
    told = {}
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        with contextlib.suppress(ValueError):
            told[key.strip()] = " ".join(shlex.split(value, comments=True))
    return told


def number(text: str | None) -> int | None:
    """Return a whole number; None if it is invalid or too long."""
    return int(text) if text and re.fullmatch("-?[0-9]{1,18}", text) else None


def real(text: str) -> float | None:
    """Return a number; None if it is invalid or too long."""
    return float(text) if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,20})?", text) else None


def each(texts: Texts, pattern: str) -> list[tuple[str, str]]:
    """Return the match of the star, and the text, for every key that matches a pattern."""
    before, _, after = pattern.partition("*")
    keys = [key for key in texts if key.startswith(before) and key.endswith(after)]
    found = [(key[len(before) : len(key) - len(after)], texts[key]) for key in sorted(keys, key=by_number)]
    return [(name, text) for name, text in found if name and "/" not in name]


def by_number(name: str) -> str:
    """Return a sort key that puts `cpu10` after `cpu9`."""
    return re.sub("[0-9]+", lambda digits: digits.group().zfill(9), name)


def processors(texts: Texts) -> list[dict[str, str]]:
    """Return the fields of each processor in /proc/cpuinfo; the first entry has those above them."""
    found: list[dict[str, str]] = [{}]
    for line in texts.get("proc/cpuinfo", "").split("\n"):
        key, _, value = line.partition(":")
        if key.strip() == "processor":
            found.append({})
        found[-1].setdefault(key.strip(), value.strip())
    return found


def common(texts: Texts) -> dict[str, str]:
    """Return the fields of /proc/cpuinfo; if processors differ, the first value counts."""
    return {key: value for processor in reversed(processors(texts)) for key, value in processor.items()}


def properties(texts: Texts) -> dict[str, str]:
    """Return the properties of Android's getprop; empty elsewhere."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", texts.get("$getprop", ""), re.MULTILINE))


def policies(texts: Texts) -> dict[str, dict[str, str]]:
    """Return the files of each group of cores that share a clock, by group name."""
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
    """Return a value of /proc/meminfo in bytes."""
    line = re.search(rf"^{name}: *([0-9]{{1,15}}) kB", texts.get("proc/meminfo", ""), re.MULTILINE)
    return int(line.group(1)) * 1024 if line else None
