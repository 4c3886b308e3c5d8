"""Targets: named goals, one TOML file each."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, UsageError, did_you_mean, one_line
from edgeopt.registry import find_backends
from edgeopt.source.project import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TEXTS, TABLES = ("summary", "backend", "device"), ("options", "budget")
BUDGETS = (
    "max_size_bytes",
    "max_median_s",
    "max_peak_bytes",
    "min_top1_agreement",
    "min_sqnr_db",
    "min_accuracy",
)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
RESERVED = ("all", "logs", "model", "reference", "run.json", "source")
"""Names with another meaning on the command line, in the table or in the output folder."""


@dataclass(frozen=True, slots=True)
class Target:
    """A named goal: backend, options, budget, and default device."""

    name: str
    summary: str
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    device: str | None = None
    path: Path | None = None
    problem: BadInputError | None = None
    """Why it cannot be used; then only its name and, if unique, its file are known."""


def find_targets(folder: Path | None = None, more: Iterable[Path] = ()) -> dict[str, Target]:
    """Return all targets by name: of edgeopt, the plugins, `folder/targets/`, and `more`.

    An unusable file becomes a target with a problem, so that the others stay usable. So do different files of one name:
    neither is silently preferred.

    Args:
        folder: Working folder of the user, by default the current folder.
        more: Further folders with target files.

    Raises:
        BadInputError: A folder in `more` does not exist.
    """
    files = [*_shipped().glob("*.toml"), *(file for plugin in find_backends().plugins for file in plugin.target_files)]
    for place in more:
        if not place.is_dir():
            raise BadInputError(
                f"there is no folder of targets {place}", hint="name a folder that holds NAME.toml files"
            )
    for place in ((folder or Path.cwd()) / "targets", *more):
        files += place.glob("*.toml")
    named: dict[str, dict[str, Path]] = {}
    for file in files:
        named.setdefault(file.stem, {}).setdefault(os.path.realpath(file), file)
    return {name: _one_target(name, sorted(named[name].values())) for name in sorted(named)}


def choose(names: Iterable[str], targets: Mapping[str, Target]) -> list[Target]:
    """Return the named targets in the order given, each once.

    `all` stands for every target; commas separate names.

    Raises:
        UsageError: A name is unknown.
        BadInputError: A target that was named has a problem; `all` includes such targets without an error.
    """
    chosen: dict[str, Target] = {}
    for name in split_names(names):
        if name == "all":
            chosen |= targets
        else:
            chosen[name] = get_target(name, targets)
    return list(chosen.values())


def split_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the names in texts, each of which may be a comma-separated list."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return tuple(part for part in parts if part)


def get_target(name: str, targets: Mapping[str, Target]) -> Target:
    """Return the target called `name`.

    Raises:
        UsageError: The name is unknown.
        BadInputError: The target has a problem.
    """
    if name not in targets:
        hint = did_you_mean(name, [*targets, "all"]) + "; see edgeopt targets"
        raise UsageError(f"no target is called {name!r}", hint=hint)
    if (problem := targets[name].problem) is not None:
        raise problem
    return targets[name]


def _one_target(name: str, files: list[Path]) -> Target:
    """Return the target of a file, or one with the problem of the file or of several.

    Files with equal content are one target: the `targets/` of a checkout repeats the targets of the installed edgeopt.
    """
    first, *others = (_try_target(file) for file in files)
    if all(replace(other, path=first.path) == first for other in others):
        return first
    listed = " and ".join(str(file) for file in files)
    clash = BadInputError(f"several target files are called {name}: {listed}", hint="rename all of them but one")
    return Target(name, "", "", problem=clash)


def _try_target(file: Path) -> Target:
    """Return the target of a file, or one with its problem."""
    try:
        return read_target(file)
    except BadInputError as error:
        return Target(file.stem, "", "", path=file, problem=error)


def read_target(file: Path) -> Target:
    """Read one target file; the target has the name of the file.

    Raises:
        BadInputError: It is not TOML, has an invalid name, key, type or budget, or lacks a backend.
    """
    content = read_toml(file)
    if not NAME.fullmatch(file.stem) or file.stem in RESERVED:
        raise BadInputError(
            f"the target file {file} has a name that no target can have",
            hint=f"use lower case, digits, dots, hyphens and underscores, and none of {', '.join(RESERVED)}",
        )
    for key, value in content.items():
        if key not in TEXTS + TABLES:
            raise BadInputError(f"{file}: unknown key {key!r}", hint=did_you_mean(key, TEXTS + TABLES))
        if not isinstance(value, str if key in TEXTS else dict):
            raise BadInputError(f"{file}: {key} is {value!r}; wanted a {'text' if key in TEXTS else 'table'}")
    if "backend" not in content:
        raise BadInputError(f"{file}: the key backend is missing", hint='say which, for instance backend = "tflite"')
    _check_budget(content.get("budget", {}), file)
    return Target(name=file.stem, path=file, **{"summary": "", **content})


def _check_budget(budget: Mapping[str, Any], file: Path) -> None:
    """Refuse a budget with an unknown name or a limit that is not a finite number."""
    for name, limit in budget.items():
        if name not in BUDGETS:
            raise BadInputError(f"{file}: unknown budget {name!r}", hint=did_you_mean(name, BUDGETS))
        with suppress(OverflowError):  # the number is too large for a float
            if isinstance(limit, (int, float)) and not isinstance(limit, bool) and math.isfinite(limit):
                continue
        raise BadInputError(f"{file}: the budget {name} is {one_line(repr(limit))}; wanted a finite number")


def _shipped() -> Path:
    """Return the folder of the targets that come with edgeopt, in the wheel or in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "_targets"
    return inside if inside.is_dir() else package.parent / "targets"
