"""Wheels for a device, fetched by this machine's pip: for its platform, and only those that load there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgeopt.devices import elf, libraries
from edgeopt.devices.preflight import lacks, newer_system
from edgeopt.errors import UnavailableError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

REGISTRY = "does this machine reach a package registry?"
MOST_TRIES = 8
"""Maximum number of attempts; each excludes the versions that would not load."""
MOST_ROUNDS = 20
"""Maximum length of a chain of requirements."""
FETCH_S = 1800.0


def fetch(requirements: Iterable[str], provided: Mapping[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    """Fill a folder with the wheels of all direct and indirect requirements.

    Args:
        requirements: In pip syntax.
        provided: The device's platform; see `libraries.provided_here`.
        folder: Replaced if it exists.
        say: Receives progress messages.

    Raises:
        UnavailableError: Wheels for the device do not exist, would not load there, or cannot be fetched by this
            machine.
    """
    barred: list[str] = []
    why, hint = "", ""
    wanted = _applying(requirements, provided["markers"], ())
    for _ in range(MOST_TRIES):
        try:
            wheels = _fetch_all([*wanted, *barred], provided, folder)
        except UnavailableError as error:
            raise UnavailableError(f"no older version is to be had: {why}", hint=hint) if why else error from None
        unfit = {wheel: entries for wheel in wheels if (entries := check_wheel(wheel, provided))}
        if not unfit:
            return
        for wheel, entries in unfit.items():
            name, version = wheel.name.split("-")[:2]
            why, hint = f"{name} {version} would not load: {lacks(entries)}", newer_system(entries)
            say(f"{why}; looking for an older one")
            barred.append(f"{name}<{version}")
    raise UnavailableError(f"none of {MOST_TRIES} versions would do: {why}", hint=hint)


def fetch_pip(python: str, folder: Path) -> Path:
    """Return a wheel of pip for a version of Python, which can run it without installing it.

    Raises:
        UnavailableError: This machine cannot fetch it.
    """
    _download(["pip"], ["--python-version", python], folder)
    return next(folder.glob("*.whl"))


def check_wheel(wheel: Path, provided: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the unmet needs of a wheel's libraries on a device; see `libraries.unmet`."""
    needs: dict[str, Any] = {}
    damaged = []
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(prefix="edgeopt-wheel-") as scratch:
        names = [name for name in archive.namelist() if libraries.is_library(name.rpartition("/")[2])]
        bundled = {name.rpartition("/")[2] for name in names}
        for name in names:
            library = Path(archive.extract(name, scratch))
            try:
                needs[name] = elf.needed(library, bundled)
            except ValueError as error:
                damaged.append({"file": name, "family": "file", "wanted": "", "has": str(error)})
            library.unlink()
    return damaged + libraries.unmet(needs, provided["machine"], provided["versions"])


def _fetch_all(wanted: Sequence[str], provided: Mapping[str, Any], folder: Path) -> list[Path]:
    """Return the wheels of the requirements and of their dependencies.

    pip itself would evaluate the markers of dependencies for this machine, so it fetches one level at a time, without
    dependencies.
    """
    wanted = list(wanted)
    for _ in range(MOST_ROUNDS):
        _download(wanted, _tags(provided), folder)
        wheels = sorted(folder.glob("*.whl"))
        needed = [text for wheel in wheels for text in _needs(wheel, wanted, provided["markers"])]
        new = [text for text in dict.fromkeys(needed) if text not in wanted]
        if not new:
            return wheels
        wanted += new
    raise UnavailableError(f"what {wanted[0]} requires has no end", hint="tell its authors")


def _needs(wheel: Path, wanted: Iterable[str], markers: Mapping[str, str]) -> list[str]:
    """Return the requirements of a wheel on the device, with the requested extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(
            name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        )
        about = HeaderParser().parsestr(archive.read(name).decode("utf-8", "replace"))
    own = canonicalize_name(about["Name"])
    asked = [extra for text in wanted if canonicalize_name((r := Requirement(text)).name) == own for extra in r.extras]
    return _applying(about.get_all("Requires-Dist") or (), markers, asked)


def _applying(requirements: Iterable[str], markers: Mapping[str, str], extras: Iterable[str]) -> list[str]:
    """Return the requirements that apply on the device, without markers: pip would evaluate them for this machine."""
    kept = []
    for text in requirements:
        requirement = Requirement(text)
        marker, requirement.marker = requirement.marker, None
        if marker is None or any(marker.evaluate({**markers, "extra": extra}) for extra in ("", *extras)):
            kept.append(str(requirement))
    return kept


def _tags(provided: Mapping[str, Any]) -> list[str]:
    """Return the arguments of pip that describe the device."""
    platforms = [part for name in provided["platforms"] for part in ("--platform", name)]
    abis = [part for abi in (provided["abi"], "abi3", "none") for part in ("--abi", abi)]
    return [*platforms, *abis, "--implementation", "cp", "--python-version", provided["python"]]


def _download(requirements: Sequence[str], arguments: Sequence[str], folder: Path) -> None:
    """Fetch wheels into a folder with pip, without dependencies."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    argv = [*pip, "--no-deps", "--only-binary=:all:", "--dest", str(folder), *arguments, "--", *requirements]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=FETCH_S
        )
    except subprocess.TimeoutExpired as error:
        message = f"pip gave no answer within {FETCH_S:g} s"
        raise UnavailableError(message, hint=REGISTRY) from error
    if done.returncode:
        raise _refused(meaning(done.stderr or done.stdout))


def _refused(why: str) -> UnavailableError:
    """Return the error for a message of pip."""
    if "No module named pip" in why:
        return UnavailableError("this Python has no pip to fetch wheels with", hint=f"{sys.executable} -m ensurepip")
    match = re.match(r"Could not find a version that satisfies the requirement (.+) \(from versions: (.*)", why)
    if match is None:
        return UnavailableError(f"the wheels cannot be fetched: {why}", hint=REGISTRY)
    versions = match[2].rstrip(")").split(", ")
    message = f"there is no wheel of {match[1]} for its Python and its system"
    if versions[-1] == "none":
        return UnavailableError(message, hint=REGISTRY)
    only = f", only of {versions[0]} to {versions[-1]}"
    return UnavailableError(f"{message}{only}", hint="a newer system, with a newer Python, may help")


def meaning(text: str) -> str:
    """Return the first error in the output of pip, else its last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line.partition("ERROR: ")[2] for line in lines if "ERROR: " in line]
    return one_line(errors[0] if errors else lines[-1] if lines else "no message")
