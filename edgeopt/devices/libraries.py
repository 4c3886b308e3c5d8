"""Library versions that a device's system provides, and those that its Python packages lack.

This file needs only Python 3.9, the standard library and, beside it, `elf.py` and `system.py`, not edgeopt: it is
pushed to a device together with these and started there. As a program it takes names of distributions and prints one
line of JSON with `provided`, the result of `provided_here`, and `distributions`, the result of `check`.

A wheel's tag is its builder's promise; the loader looks for the versions that its libraries name. The two can differ:
the wheel of `ai-edge-litert` 2.3 for aarch64 is tagged glibc 2.27 and needs 2.34.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig

if __package__:
    from edgeopt.devices import elf
    from edgeopt.measure import system
else:  # on a device the files lie side by side
    import elf  # type: ignore[import-not-found, no-redef]
    import system  # type: ignore[import-not-found, no-redef]

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

LIBC = re.compile(r"/libc(?:\.so\.6|-2\.\d+\.so)$")
CXX = ("libstdc++.so.6", "libgcc_s.so.1")
"""Libraries besides the C library whose versions wheels need."""
LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Older tag names, by the minor version of glibc that they stand for (PEP 599, 571, 513)."""
OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
"""The oldest minor version of glibc that a tag can name, if not 17 (PEP 600)."""
MANYLINUX = ("x86_64", "i686", "aarch64", "armv7l", "ppc64", "ppc64le", "s390x", "loongarch64", "riscv64")
LOADER_LIMIT_S = 10
RELEASE = "/etc/os-release"


def provided_here() -> dict[str, Any]:
    """Return the features of this system and this Python that packages depend on.

    Returns:
        `machine`, for which this Python was built, as in `uname -m`; `libc` (`glibc`, `musl`, `bionic` or empty)
        and `libc_version`; `versions`, the newest of each family that the system's libraries define; `python`,
        `executable`, `implementation`, `tag`, `abi` and `platforms` (pip's wheel tags, the best first); `markers`,
        the variables of PEP 508; `pip`, `venv` and `managed`, whether this Python has the two and belongs to the
        system's own packages (PEP 668); `root`, whether it runs as root; `system`, from `/etc/os-release`.
    """
    built = _header(sys.executable)
    libc, version = _libc(built["interpreter"])
    tag = "cp{}{}".format(*sys.version_info)
    suffix = str(sysconfig.get_config_var("SOABI") or "").split("-")
    return {
        "machine": built["machine"],
        "libc": libc,
        "libc_version": version,
        "versions": _versions(version if libc == "glibc" else ""),
        "python": platform.python_version(),
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "tag": tag,
        "abi": f"cp{suffix[1]}" if suffix[0] == "cpython" and len(suffix) > 1 else tag,
        "platforms": list(_platforms(built, libc, version)),
        "markers": _markers(),
        "pip": importlib.util.find_spec("pip") is not None,
        "venv": all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")),
        "managed": _is_managed(),
        "root": hasattr(os, "geteuid") and os.geteuid() == 0,
        "system": _system(),
    }


def check(distributions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return, by name, whether the system meets the needs of these distributions' libraries.

    Returns:
        `version`, None if the distribution is not installed; `unmet`, the result of `unmet`, with an entry of the
        family `file` for each library that is missing or damaged (`has` describes it), and one of the family
        `python` if it was built for another Python; `ok`, whether it is installed and `unmet` is empty. A
        distribution that pip did not install lists no files and is assumed to fit: it came with the system.
    """
    machine, versions = _header(sys.executable)["machine"], _versions(_libc("")[1])
    return {name: _check(name, machine, versions) for name in distributions}


def unmet(needs: Mapping[str, Mapping[str, Any]], machine: str, versions: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the needs of libraries that a system does not meet.

    Args:
        needs: By file, the result of `elf.needed`.
        machine: The system's machine type, as in `uname -m`.
        versions: By family, the newest version that the system defines.

    Returns:
        At most one entry for the machine and one per family, for the newest version that is missing: `file`,
        `family` (`machine` or one of `elf.FAMILIES`), `wanted` and `has`, empty if the system lacks the family.
    """
    found: dict[str, dict[str, str]] = {}
    for file, need in sorted(needs.items()):
        if need["machine"] != machine:
            found.setdefault("machine", _entry(file, "machine", need["machine"], machine))
            continue
        for family, wanted in need["versions"].items():
            has = versions.get(family, "")
            farthest = found[family]["wanted"] if family in found else has
            if elf.numbers(wanted) > elf.numbers(farthest):
                found[family] = _entry(file, family, wanted, has)
    return [found[family] for family in ("machine", *elf.FAMILIES) if family in found]


def is_library(name: str) -> bool:
    """Return whether a file has the name of a shared library: `libm.so`, `libm.so.6`."""
    return re.search(r"\.so(\.\d+)*$", name) is not None


def _check(name: str, machine: str, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the entry of `check` for one distribution."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return {"version": None, "unmet": [], "ok": False}
    files = [file for file in distribution.files or () if is_library(file.name)]
    bundled = {file.name for file in files}
    needs, damaged = {}, []
    for file in files if sys.platform == "linux" else ():
        found = _needed(str(distribution.locate_file(file)), bundled)
        if isinstance(found, str):
            damaged.append(_entry(str(file), "file", "", found))
        else:
            needs[str(file)] = found
    python = _other_python(name, distribution.read_text("WHEEL") or "")
    missing = damaged + python + unmet(needs, machine, versions)
    return {"version": distribution.version, "unmet": missing, "ok": not missing}


def _other_python(name: str, wheel: str) -> list[dict[str, str]]:
    """Return an entry if the tags in the file `WHEEL` are for other Pythons only."""
    own = sys.version_info[:2]
    built = []
    for tag in re.findall(r"^Tag: (\S+)$", wheel, re.MULTILINE):
        interpreters, abi = tag.split("-")[:2]
        for interpreter in interpreters.split("."):
            match = re.match(r"cp(\d)(\d+)$", interpreter)
            version = (int(match.group(1)), int(match.group(2))) if match else own
            if version == own or (version < own and abi in ("abi3", "none")):
                return []
            built.append(version)
    return [_entry(name, "python", "{}.{}".format(*built[0]), "{}.{}".format(*own))] if built else []


def _needed(path: str, bundled: Collection[str]) -> dict[str, Any] | str:
    """Return the needs of a library, or a sentence that describes its defect."""
    try:
        return elf.needed(path, bundled)
    except ValueError as error:
        return str(error)


def _entry(file: str, family: str, wanted: str, has: str) -> dict[str, str]:
    return {"file": file, "family": family, "wanted": wanted, "has": has}


def _header(executable: str) -> dict[str, Any]:
    """Return the ELF header of a program; without one, the machine that `platform` reports."""
    try:
        return elf.header(executable)
    except ValueError:
        return {"machine": platform.machine(), "bits": 64, "hard_float": False, "interpreter": ""}


def _libc(interpreter: str) -> tuple[str, str]:
    """Return name and version of the C library of this process; both may be empty."""
    name, version = system.libc(_say_libc(interpreter))
    if name:
        return name, ".".join(re.findall(r"\d+", version)[:2])
    if "/ld-musl-" in interpreter:
        return "musl", ""
    if hasattr(sys, "getandroidapilevel"):
        return "bionic", str(sys.getandroidapilevel())
    return ("bionic", "") if interpreter.startswith("/system/") else ("", "")


def _say_libc(interpreter: str) -> str:
    """Return the version text of this process's C library; musl's loader prints it if run without a program."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # other C libraries lack this name
        if said := os.confstr("CS_GNU_LIBC_VERSION"):
            return said
    if "/ld-musl-" not in interpreter:
        return ""
    try:
        done = subprocess.run([interpreter], capture_output=True, text=True, timeout=LOADER_LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stderr


def _versions(glibc: str) -> dict[str, str]:
    """Return, by family, the newest version in the libraries that this process loads."""
    found = {"GLIBC": glibc} if glibc else {}
    for name in CXX:
        _load(name)
    for path in _mapped():
        name = os.path.basename(path)  # noqa: PTH119
        if LIBC.search(path) or name.startswith(CXX):
            try:
                given = elf.provided(path)
            except ValueError:
                continue
            # libgcc on aarch64 defines one old version of the C library's family.
            newer = {key: text for key, text in given.items() if elf.numbers(text) > elf.numbers(found.get(key, ""))}
            found.update(newer)
    return found


def _load(name: str) -> None:
    """Load a library as a package would, so that the file chosen by the loader is mapped."""
    try:
        import ctypes

        ctypes.CDLL(name)
    except (ImportError, OSError):  # a minimal Python lacks ctypes, a minimal system C++
        return


def _mapped() -> list[str]:
    """Return the files that are mapped into this process."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
            return sorted({line.split(None, 5)[5].rstrip("\n") for line in maps if line.count("/")})
    except OSError:
        return []


def _platforms(built: Mapping[str, Any], libc: str, version: str) -> Iterator[str]:
    """Yield the platform tags that pip accepts here, the best first."""
    own = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    yield from (f"linux_{machine}" for machine in _tagged_machines(built)) if sys.platform == "linux" else (own,)
    major, _, minor = version.partition(".")
    for machine in _tagged_machines(built):
        if libc == "glibc" and major == "2" and _has_manylinux(machine, built):
            for number in range(int(minor), OLDEST_GLIBC.get(machine, 17) - 1, -1):
                yield f"manylinux_2_{number}_{machine}"
                if number in LEGACY:
                    yield f"{LEGACY[number]}_{machine}"
        if libc == "musl" and major:
            yield from (f"musllinux_{major}_{number}_{machine}" for number in range(int(minor), -1, -1))


def _tagged_machines(built: Mapping[str, Any]) -> Sequence[str]:
    """Return the machine names in tags; a 64-bit kernel may run a 32-bit Python."""
    if built["machine"] != "arm":
        return (built["machine"],)
    kernel = platform.machine()
    return ("armv8l", "armv7l") if kernel in ("aarch64", "armv8l") else (kernel,)


def _has_manylinux(machine: str, built: Mapping[str, Any]) -> bool:
    """Return whether glibc tags exist for a machine; on 32-bit ARM they imply hard floats."""
    return machine in MANYLINUX and (machine != "armv7l" or bool(built["hard_float"]))


def _markers() -> dict[str, str]:
    """Return the variables of PEP 508."""
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": platform.python_version(),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def _is_managed() -> bool:
    """Return whether pip must not install into this Python: the system's packages do."""
    marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")  # noqa: PTH118
    return sys.prefix == sys.base_prefix and os.path.exists(marker)  # noqa: PTH110


def _system() -> dict[str, str]:
    """Return `id`, `like` and `name` of the system, each of which may be empty."""
    told: dict[str, str] = {}
    with contextlib.suppress(OSError), open(RELEASE, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        told = system.release(file.read())
    return {"id": told.get("ID", ""), "like": told.get("ID_LIKE", ""), "name": told.get("PRETTY_NAME", "")}


def main(distributions: Sequence[str]) -> None:
    """Print the findings as one line of JSON."""
    sys.stdout.write(json.dumps({"provided": provided_here(), "distributions": check(distributions)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
