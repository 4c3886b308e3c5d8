"""A bare environment: Python can import only the standard library, NumPy and a runner's requirements.

Nothing is installed. A folder of links contains exactly the distributions in the closure of the requirements, and the
harness is started so that it can import only from this folder and the standard library.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

START = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
"""Runs a script with one extra import folder: `-I -S` leaves only the standard library."""


@dataclass(frozen=True, slots=True)
class _Installed:
    """One file of a distribution."""

    owner: str
    parts: tuple[str, ...]
    """Path within the package folder."""
    path: Path


def closure(requirements: Iterable[str]) -> dict[str, metadata.Distribution]:
    """Return the installed distributions that the requirements need, directly or not, by canonical name.

    Distributions that are not installed are left out: the runner shows whether that matters.
    """
    found: dict[str, metadata.Distribution] = {}
    seen: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        text = str(requirement)
        if text in seen:
            continue
        seen.add(text)
        name = canonicalize_name(requirement.name)
        try:
            distribution = found.get(name) or metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = distribution
        waiting += _needed(distribution, requirement.extras)
    return found


def make_bare(folder: Path, requirements: Iterable[str]) -> None:
    """Fill a new folder with links to the distributions that `requirements` need, and to NumPy."""
    folder.mkdir()
    _link(_installed(), set(closure([*requirements, "numpy"])), folder, 0)


def command(python: str, folder: Path, script: Path) -> list[str]:
    """Return the command that runs `script` with imports from `folder` and the standard library only."""
    return [python, "-I", "-S", "-c", START, str(folder), str(script)]


def _needed(distribution: metadata.Distribution, extras: Iterable[str]) -> list[Requirement]:
    """Return a distribution's requirements in this environment, including those of the requested extras."""
    needed = []
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            needed.append(requirement)
    return needed


@cache
def _installed() -> tuple[_Installed, ...]:
    """Return the files of all installed distributions: shared folders decide how deep the links must go."""
    found: list[_Installed] = []
    seen = set()
    for distribution in metadata.distributions():
        owner = canonicalize_name(distribution.metadata["Name"] or "")
        if owner in seen:  # the first on the path is the one that is imported
            continue
        seen.add(owner)
        for file in distribution.files or ():
            parts = PurePosixPath(file).parts
            if parts and parts[0] != ".." and not file.is_absolute():
                found.append(_Installed(owner, parts, Path(str(distribution.locate_file(file)))))
    return tuple(found)


def _link(files: Iterable[_Installed], wanted: set[str], folder: Path, depth: int) -> None:
    """Link the files of `wanted`: a whole folder if no other distribution shares it, else its entries one by one."""
    named: dict[str, list[_Installed]] = defaultdict(list)
    for file in files:
        named[file.parts[depth]].append(file)
    for name, inside in named.items():
        owned = [file for file in inside if file.owner in wanted]
        deeper = [file for file in inside if len(file.parts) > depth + 1]
        places = {file.path.parents[len(file.parts) - depth - 2] for file in deeper} if owned else set()
        if owned and not deeper:
            (folder / name).symlink_to(owned[0].path)
        elif len(owned) == len(inside) and len(places) == 1:
            (folder / name).symlink_to(places.pop())
        elif owned:
            (folder / name).mkdir()
            _link(deeper, wanted, folder / name, depth + 1)
