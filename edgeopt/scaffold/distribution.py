"""Write a new plugin: a complete distribution, filled from the templates next to this module."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from edgeopt.errors import BadInputError, UsageError
from edgeopt.registry import find_backends
from edgeopt.targets import RESERVED, find_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeopt.discovery import Plugin

PREFIX = "edgeopt-"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TEMPLATES = Path(__file__).with_name("templates")
SUFFIX = ".template"
FILES = {
    "src/$package/backend.py": "the backend and its options",
    "src/$package/runner.py": "runs an artifact on the device",
    "src/$package/targets/$name.toml": "its target",
    "src/$package/__init__.py": "the hook that edgeopt calls",
    "tests/test_backend.py": "the conformance kit",
    "pyproject.toml": "the entry point",
    "README.md": "what its users read",
    ".github/workflows/test.yml": "for your CI",
    ".gitignore": "what is made and not kept",
}
"""Purpose of each file in the distribution, by path."""


@dataclass(frozen=True, slots=True)
class Names:
    """All names of a new plugin, derived from the name of its backend, which its target shares."""

    backend: str

    @property
    def distribution(self) -> str:
        """Name for pip, and of the folder that is written."""
        return PREFIX + self.backend

    @property
    def package(self) -> str:
        """Name for Python imports, and in the entry point."""
        return self.distribution.replace("-", "_")

    @property
    def stem(self) -> str:
        """Start of the backend's class name."""
        return "".join(part.capitalize() for part in self.backend.split("-"))

    def fill(self, text: str) -> str:
        """Return a template with the names filled in."""
        return Template(text).substitute(
            name=self.backend,
            distribution=self.distribution,
            package=self.package,
            stem=self.stem,
            edgeopt=version("edgeopt"),
        )


@dataclass(frozen=True, slots=True)
class Distribution:
    """A written distribution.

    Args:
        names: Its names.
        folder: Its folder.
        files: Purpose of each file, by its path inside the folder.
    """

    names: Names
    folder: Path
    files: Mapping[str, str]


def write_distribution(name: str, parent: Path) -> Distribution:
    """Write a new plugin into its own folder below `parent`, which is created if missing.

    Args:
        name: Name of the backend or, with the prefix `edgeopt-`, of the distribution.
        parent: The folder to write `edgeopt-NAME/` into.

    Raises:
        UsageError: The name is invalid, or already taken by something installed.
        BadInputError: The folder exists, or cannot be written; a partial folder is removed.
    """
    names = read_name(name)
    folder = parent / names.distribution
    if os.path.lexists(folder):
        raise BadInputError(f"{folder} is there already", hint="choose another name or another place: --dir DIR")
    staging = folder.with_name(f".{folder.name}-{os.getpid()}")
    new = next((place for place in reversed(staging.absolute().parents) if not os.path.lexists(place)), staging)
    try:
        files = dict(_write(names, staging))
        staging.rename(folder)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        reason = f"{folder} cannot be written: {error.strerror}"
        raise BadInputError(reason, hint="choose another place: --dir DIR") from error
    return Distribution(names, folder, files)


def read_name(name: str) -> Names:
    """Return the names of a plugin from the user's `name`.

    Raises:
        UsageError: The name is invalid, or already taken by something installed.
    """
    names = Names(name.removeprefix(PREFIX))
    if not NAME.fullmatch(names.backend) or names.backend in RESERVED:
        reserved = ", ".join(RESERVED)
        hint = f"use lower case, digits and single hyphens, a letter first, for instance my-board; not {reserved}"
        raise UsageError(f"a plugin cannot be called {name!r}", hint=hint)
    if owner := next(_owners(names), None):
        raise UsageError(f"the name {names.backend!r} is taken by {owner}", hint="choose another one")
    return names


def _owners(names: Names) -> Iterator[str]:
    """Yield everything installed here under one of the names."""
    registry = find_backends()
    for name in (*registry.backends, *registry.clashes):
        if name == names.backend:
            yield f"a backend of {_origins(name, registry.plugins)}"
    for plugin in registry.plugins:
        if plugin.is_called(names.backend) or plugin.is_called(names.distribution):
            yield f"the plugin {plugin.name} of {plugin.origin}"
    if target := find_targets().get(names.backend):
        yield f"the target {target.path or target.name}"
    if importlib.util.find_spec(names.package):
        yield f"the package {names.package}, which is installed"


def _origins(backend: str, plugins: tuple[Plugin, ...]) -> str:
    """Return the distributions that provide a backend of this name."""
    return " and ".join(p.origin for p in plugins if any(found.name == backend for found in p.backends))


def _write(names: Names, folder: Path) -> Iterator[tuple[str, str]]:
    """Write every file below `folder`; yield the path and purpose of each."""
    for path, purpose in FILES.items():
        template = TEMPLATES / f"{path.rpartition('/')[2].replace('$name', 'target').lstrip('.')}{SUFFIX}"
        file = folder / names.fill(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(names.fill(template.read_text("utf-8")), "utf-8")
        yield names.fill(path), purpose
