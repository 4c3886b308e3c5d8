"""Finds installed plugins and loads each by itself: a broken one is kept with the reason.

pluggy's own loading is not used for discovery: one plugin that fails to import would end the program, and a misspelt
hook would go unnoticed. Here, every plugin is loaded alone, then checked.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from edgeopt import hookspec, requirements
from edgeopt.contract import CONTRACT_VERSION, OLDEST_CONTRACT, Backend
from edgeopt.errors import PluginError, UsageError, did_you_mean
from edgeopt.options import check_options_class
from edgeopt.probe import MOST_BACKENDS, call_stranger, why_deadly

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PLUGINS_VARIABLE = "EDGEOPT_PLUGINS"
"""Environment variable: the only plugins to load, comma-separated; empty loads none."""
NEEDS_SINCE = 2
"""The first contract with `Artifact.needs`."""
CONTRACT_CONSTANT = "EDGEOPT_CONTRACT"
"""Constant in a plugin's module: the contract that it was written for."""
TARGETS_FOLDER = "targets"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of the group `edgeopt`, and its content."""

    name: str
    module: str
    """The module that the entry point names."""
    distribution: str
    version: str
    contract: int | None = None
    """The contract that it was written for; None if its module was not found or not read."""
    backends: tuple[type[Backend], ...] = ()
    target_files: tuple[Path, ...] = ()
    problem: str = ""
    """Reason why it is not used; empty if it works."""

    @property
    def origin(self) -> str:
        """Distribution and version in one text, as recorded in a run."""
        return f"{self.distribution} {self.version}"

    @property
    def declares_needs(self) -> bool:
        """Whether the contract that it was written for has `Artifact.needs`."""
        return (self.contract or OLDEST_CONTRACT) >= NEEDS_SINCE

    def is_called(self, name: str) -> bool:
        """Return whether `name` is the name of this plugin or of its distribution."""
        return name in (self.name, self.distribution)


def find_plugins() -> list[Plugin]:
    """Load every enabled plugin; a failure of a third-party module becomes its `problem`.

    Raises:
        UsageError: `EDGEOPT_PLUGINS` names a plugin that is not installed.
    """
    return [load_plugin(entry) for entry in _wanted_entries()]


def installed_names() -> list[str]:
    """Return the names of all installed plugins, loaded or not."""
    return sorted({entry.name for entry in _entry_points()})


def leave_out(names: Iterable[str]) -> None:
    """Disable the named plugins, here and in child processes.

    Raises:
        UsageError: No plugin has that name.
    """
    entries = _wanted_entries()
    for name in names:
        left = [entry for entry in entries if name not in (entry.name, _origin(entry)[0])]
        if len(left) == len(entries):
            known = {known for entry in entries for known in (entry.name, _origin(entry)[0])}
            raise UsageError(f"--no-plugin: no plugin is called {name!r}", hint=did_you_mean(name, known))
        entries = left
    os.environ[PLUGINS_VARIABLE] = ",".join(entry.name for entry in entries)


def load_plugin(entry: metadata.EntryPoint) -> Plugin:
    """Load one plugin; any failure becomes its `problem`."""
    plugin = Plugin(entry.name, entry.module, *_origin(entry))
    try:
        plugin = replace(plugin, contract=call_stranger(lambda: _read_contract(entry.module)))
        _check_contract(plugin)
        return call_stranger(lambda: _load(plugin, entry))
    except PluginError as error:
        return replace(plugin, problem=error.message)


def _load(plugin: Plugin, entry: metadata.EntryPoint) -> Plugin:
    """Return a plugin with the backends and target files of its module."""
    _check_import(plugin)
    module = entry.load()
    return replace(plugin, backends=tuple(backends_of(module, entry.value)), target_files=_target_files(module))


def backends_of(module: Any, name: str) -> Iterator[type[Backend]]:
    """Yield the checked backend classes of a plugin's module.

    Raises:
        PluginError: The module does not conform to the contract.
    """
    manager = pluggy.PluginManager(hookspec.PROJECT)
    manager.add_hookspecs(hookspec)
    manager.register(module, name=name)
    manager.check_pending()
    if not manager.hook.edgeopt_backends.get_hookimpls():
        raise PluginError(f"{name} implements no hook edgeopt_backends; is @hookimpl missing?")
    for group in manager.hook.edgeopt_backends():
        if isinstance(group, (str, bytes)) or not hasattr(group, "__iter__"):
            raise PluginError(f"edgeopt_backends() returned {type(group).__name__}, not an iterable of Backend classes")
        yield from _checked(group)


def _wanted_entries() -> list[metadata.EntryPoint]:
    """Return the entry points of the enabled plugins."""
    entries = _entry_points()
    wanted = os.environ.get(PLUGINS_VARIABLE)
    if wanted is None:
        return entries
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    known = {known for entry in entries for known in (entry.name, _origin(entry)[0])}
    for name in names:
        if name not in known:
            raise UsageError(f"{PLUGINS_VARIABLE}: no plugin is called {name!r}", hint=did_you_mean(name, known))
    return [entry for entry in entries if {entry.name, _origin(entry)[0]} & set(names)]


def _entry_points() -> list[metadata.EntryPoint]:
    """Return the entry points of the group, each once, even if a folder is on the path twice."""
    seen: dict[tuple[str, str, tuple[str, str]], metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=hookspec.ENTRY_POINT_GROUP):
        seen.setdefault((entry.name, entry.value, _origin(entry)), entry)
    return [seen[key] for key in sorted(seen)]


def _origin(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution of `entry`."""
    if entry.dist is None:
        return ("unknown", "0")
    return (entry.dist.name, entry.dist.version)


def _read_contract(module: str) -> int | None:
    """Return the contract that a module declares, else the first; None if the module is missing.

    The file is read, not imported: a module for a newer contract may fail on import.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.loader is None:
        return None
    source = getattr(spec.loader, "get_source", lambda _: None)(module)
    for node in ast.parse(source or "").body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if CONTRACT_CONSTANT in names and isinstance(node, ast.Assign):
            value = ast.literal_eval(node.value)
            if isinstance(value, int):
                return value
            raise PluginError(f"{CONTRACT_CONSTANT} is {value!r}; wanted a whole number")
    return OLDEST_CONTRACT


def _check_contract(plugin: Plugin) -> None:
    """Reject a plugin for a contract that this edgeopt does not support."""
    if plugin.contract is None or OLDEST_CONTRACT <= plugin.contract <= CONTRACT_VERSION:
        return
    kept = f"contract {CONTRACT_VERSION}"
    if OLDEST_CONTRACT < CONTRACT_VERSION:
        kept = f"contracts {OLDEST_CONTRACT} to {CONTRACT_VERSION}"
    age, cure = ("a newer", "edgeopt") if plugin.contract > CONTRACT_VERSION else ("a retired", plugin.distribution)
    raise PluginError(f"written for contract {plugin.contract}, {age} one: this edgeopt keeps {kept}; upgrade {cure}")


def _check_import(plugin: Plugin) -> None:
    """Reject a third-party module that would end or hang this process."""
    if plugin.distribution != hookspec.PROJECT and (reason := why_deadly(plugin.module, plugin.version)):
        raise PluginError(reason)


def _target_files(module: Any) -> tuple[Path, ...]:
    """Return the target files in the folder `targets` of a plugin's package."""
    return tuple(
        file for place in getattr(module, "__path__", ()) for file in sorted(Path(place, TARGETS_FOLDER).glob("*.toml"))
    )


def _checked(group: Iterable[Any]) -> Iterator[type[Backend]]:
    """Yield the classes in `group`; reject the first invalid one with a reason."""
    for number, item in enumerate(group):
        if number == MOST_BACKENDS:
            raise PluginError(f"edgeopt_backends() gave more than {MOST_BACKENDS:,} backends")
        if not (isinstance(item, type) and issubclass(item, Backend)):
            raise PluginError(f"edgeopt_backends() returned {item!r}, which is no subclass of Backend")
        if inspect.isabstract(item):
            missing = ", ".join(sorted(item.__abstractmethods__))
            raise PluginError(f"{item.__name__} does not implement {missing}")
        for member in ("name", "summary", "runner"):
            if not hasattr(item, member):
                raise PluginError(f"{item.__name__} has no {member}")
        _check_texts(item)
        if not isinstance(item.runner, (str, os.PathLike)) or not Path(item.runner).is_file():
            raise PluginError(f"{item.__name__}.runner is {item.runner!s}, and there is no such file")
        check_options_class(item.Options)
        for member in ("requires", "environment"):
            _check_requirements(item, member)
        yield item


def _check_texts(item: type[Backend]) -> None:
    """Reject a class whose members do not have the types of the contract."""
    if not isinstance(item.name, str) or not NAME.fullmatch(item.name):
        raise PluginError(f"{item.__name__}.name is {item.name!r}; wanted lower case with hyphens")
    if not isinstance(item.summary, str):
        raise PluginError(f"{item.__name__}.summary is {item.summary!r}; wanted a text")
    for member in ("preferred_devices", "requires", "environment"):
        texts = getattr(item, member)
        if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
            raise PluginError(f"{item.__name__}.{member} is {texts!r}; wanted a tuple of texts")


def _check_requirements(item: type[Backend], member: str) -> None:
    """Reject a class whose requirements are not in pip's format."""
    for text in getattr(item, member):
        if problem := requirements.check(text):
            raise PluginError(f"{item.__name__}.{member} has {text!r}, which is no requirement: {problem}")
