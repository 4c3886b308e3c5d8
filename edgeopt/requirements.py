"""Requirements as pip writes them, against the versions that are installed somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def names(requirements: Iterable[str]) -> list[str]:
    """Return the names of the distributions that are required."""
    return [Requirement(text).name for text in requirements]


def unmet(requirements: Iterable[str], versions: Mapping[str, str]) -> list[str]:
    """Return those requirements that `versions`, by the name of the distribution, do not meet."""
    found = []
    for text in requirements:
        requirement = Requirement(text)
        version = versions.get(requirement.name)
        if version is None or not _contains(requirement, version):
            found.append(text)
    return found


def check(text: object) -> str | None:
    """Return why `text` is no requirement, or None."""
    try:
        Requirement(str(text))
    except InvalidRequirement as error:
        return " ".join(str(error).split())
    return None


def _contains(requirement: Requirement, version: str) -> bool:
    """Whether a version is among those that are wanted; one that follows no rule is let through."""
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return True
