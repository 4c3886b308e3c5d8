"""Detects changed files and the differences between two folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from typing_extensions import Self

LIBRARIES = {"__pycache__", ".keras", ".cache", ".config"}
"""Folders that libraries may write to on import; the host allows this too."""
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files in some places at one moment."""

    places: tuple[Path, ...]
    files: Mapping[Path, tuple[int, int]]
    """Size in bytes and modification time in ns of each."""

    @classmethod
    def take(cls, places: Iterable[Path]) -> Self:
        """Return the present state of the files in `places` (files or folders)."""
        kept = tuple(places)
        return cls(kept, dict(_walk(kept)))

    def changes(self, *, exempt: Iterable[Path]) -> tuple[str, ...]:
        """Return a sentence for each file made, changed or removed since, except those in `exempt`."""
        allowed = tuple(exempt)
        now = dict(_walk(self.places))
        found = []
        for path in sorted({*self.files, *now}):
            if any(map(path.is_relative_to, allowed)) or self.files.get(path) == now.get(path):
                continue
            verb = "made" if path not in self.files else "removed" if path not in now else "changed"
            found.append(f"{verb} {path}")
        return tuple(found)


def differences(one: Path, other: Path) -> dict[str, str]:
    """Return the differences between two folders, by path: `the bytes`, `only once`, or the keys of a JSON file."""
    paths = {
        file.relative_to(folder).as_posix() for folder in (one, other) for file in folder.rglob("*") if file.is_file()
    }
    found = {}
    for path in sorted(paths):
        first, second = one / path, other / path
        if not (first.is_file() and second.is_file()):
            found[path] = "only once"
        elif first.read_bytes() != second.read_bytes():
            found[path] = _in_json(first, second) or "the bytes"
    return found


def _walk(places: Iterable[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            if path.is_file() and LIBRARIES.isdisjoint(path.parts):
                status = path.stat()
                yield path, (status.st_size, status.st_mtime_ns)


def _in_json(one: Path, other: Path) -> str:
    """Return the keys in which two JSON files differ; empty if they are not JSON or differ only in layout."""
    try:
        keys = list(_keys(json.loads(one.read_text("utf-8")), json.loads(other.read_text("utf-8")), ""))
    except ValueError:
        return ""
    return f"the keys {', '.join(keys)}" if keys else ""


def _keys(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _keys(one.get(key, ABSENT), other.get(key, ABSENT), f"{path}.{key}" if path else key)
    elif one != other:
        yield path or "(the whole)"
