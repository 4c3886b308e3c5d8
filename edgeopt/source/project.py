"""Read project settings from `edgeopt.toml`, or `[tool.edgeopt]` in `pyproject.toml`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, did_you_mean, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXTS, LISTS, TABLES = ("model", "data"), ("targets",), ("devices",)
MOST_BYTES = 1 << 20
"""Maximum size of a settings file."""


@dataclass(frozen=True, slots=True)
class Project:
    """The settings of a folder; `origin` names their file or table and is empty without settings."""

    origin: str = ""
    model: str | None = None
    targets: tuple[str, ...] = ()
    data: str | None = None
    """Feeds for the model."""
    devices: Mapping[str, Any] = field(default_factory=dict)
    """Settings of devices by name, read by `edgeopt.devices.book`."""


def read_project(folder: Path) -> Project:
    """Return the settings of the project in `folder`; `edgeopt.toml` overrides `pyproject.toml`.

    Raises:
        BadInputError: The file cannot be read, a key is unknown, or a value has the wrong type.
    """
    own = folder / "edgeopt.toml"
    if own.is_file():
        return _check(read_toml(own), "edgeopt.toml", own)
    shared = folder / "pyproject.toml"
    if shared.is_file():
        tools = read_toml(shared).get("tool", {})
        table = tools.get("edgeopt") if isinstance(tools, dict) else None
        if table is not None:
            return _check(table, "[tool.edgeopt] in pyproject.toml", shared)
    return Project()


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file and return its content.

    Raises:
        BadInputError: It is not a regular file, unreadable, too large, or not valid TOML.
    """
    try:
        if not file.is_file():  # reading a pipe or a device would never end
            reason = "it is no regular file" if file.exists() else "there is no such file"
            raise BadInputError(f"{file} cannot be read: {reason}")
        if file.stat().st_size > MOST_BYTES:
            raise BadInputError(f"{file} cannot be read: it is larger than {MOST_BYTES:,} bytes")
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also numbers with too many digits, and tables nested too deeply
        raise BadInputError(f"{file} cannot be read: it is no valid TOML: {one_line(error)}") from error


def _check(table: Any, origin: str, file: Path) -> Project:
    """Check the keys and types of the table and return it as a project."""
    if not isinstance(table, dict):
        raise BadInputError(f"{file}: tool.edgeopt is not a table", hint="write [tool.edgeopt], then model = ...")
    for key, value in table.items():
        if key not in (keys := TEXTS + LISTS + TABLES):
            message = f"{file}: unknown key {key!r}; valid are {', '.join(keys)}"
            raise BadInputError(message, hint=did_you_mean(key, keys, listed=True))
        if key in TEXTS and not isinstance(value, str):
            raise BadInputError(f"{file}: {key} must be a text", hint=f'for instance {key} = "model.keras"')
        if key in LISTS and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise BadInputError(f"{file}: {key} must be a list of texts", hint=f'for instance {key} = ["tflite-int8"]')
        if key in TABLES and not isinstance(value, dict):
            raise BadInputError(f"{file}: {key} is not a table", hint="write [devices.NAME], then uri = ...")
    devices = table.get("devices", {})
    return Project(origin, table.get("model"), tuple(table.get("targets", ())), table.get("data"), devices)
