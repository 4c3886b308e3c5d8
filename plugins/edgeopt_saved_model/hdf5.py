"""Copies HDF5 files without some of their groups; deleting in place would leave the bytes in the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def strip_h5(source: Path, target: Path) -> bool:
    """Copy a whole-model `.h5` file without optimizer and compile settings.

    Keras need not be able to load the file. Returns False and writes nothing if there is nothing to remove.
    """
    import h5py

    with h5py.File(source, "r") as old:
        nested = _without_nested_settings(old)
        if "optimizer_weights" not in old and "training_config" not in old.attrs and nested is None:
            return False
        with h5py.File(target, "w") as new:
            _copy_attributes(old, new, {"training_config"})
            if nested is not None:
                new.attrs["model_config"] = nested
            copy_group(old, new, {"optimizer_weights"})
    return True


def optimizer_groups(weights: Any, path: str = "") -> set[str]:
    """Return the paths of all groups that hold an optimizer in an open weights file of a `.keras` archive.

    The model's own is at the root; compiled models inside the model have theirs below, and custom models may have
    several with names of their own. A layer may be called `optimizer` too, so the contents decide: an optimizer's first
    variable is its iteration, an integer.
    """
    import h5py

    found: set[str] = set()
    for name, item in weights.items():
        if not isinstance(item, h5py.Group) or name == "vars":
            continue
        below = f"{path}/{name}".lstrip("/")
        if "opt" in name.lower() and _counts_iterations(item):
            found.add(below)
        else:
            found |= optimizer_groups(item, below)
    return found


def copy_group(old: Any, new: Any, without: Collection[str]) -> None:
    """Copy the contents of an HDF5 group into another, without the groups at the paths `without`.

    The HDF5 library copies groups that lose nothing, so that they stay unchanged.
    """
    for name in old:
        if name in without:
            continue
        below = {path.removeprefix(f"{name}/") for path in without if path.startswith(f"{name}/")}
        if below:
            group = new.create_group(name)
            _copy_attributes(old[name], group, ())
            copy_group(old[name], group, below)
        else:
            old.copy(old[name], new, name=name)


def _copy_attributes(old: Any, new: Any, without: Collection[str]) -> None:
    """Copy the attributes of an HDF5 object with their own types."""
    for name in old.attrs:
        if name not in without:
            new.attrs.create(name, old.attrs[name], dtype=old.attrs.get_id(name).dtype)


def _counts_iterations(group: Any) -> bool:
    """Return whether the first variable in a group is a single integer."""
    first = group.get("vars/0")
    return first is not None and first.shape == () and first.dtype.kind in "iu"


def without_settings(config: Any) -> Any:
    """Return a serialised Keras object without compile settings, at any depth."""
    if isinstance(config, list):
        return [without_settings(value) for value in config]
    if not isinstance(config, dict):
        return config
    serialised = "class_name" in config and "config" in config
    return {
        key: without_settings(value)
        for key, value in config.items()
        if not (serialised and value and key == "compile_config")
    }


def _without_nested_settings(file: Any) -> str | None:
    """Return the model's configuration without compile settings of models inside it, or None if nothing changes."""
    text = file.attrs.get("model_config")
    if text is None:
        return None
    config = json.loads(text)
    stripped = without_settings(config)
    return None if stripped == config else json.dumps(stripped)
