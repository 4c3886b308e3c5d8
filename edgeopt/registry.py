"""Finds the plugins and their backends; a broken plugin is kept with the reason and never stops the others.

pluggy's own loading is not used for discovery: it lets one plugin that fails to import end the program, and a misspelt
hook goes unnoticed. Every plugin is loaded here by itself, then checked.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from edgeopt import hookspec, requirements
from edgeopt.contract import Backend
from edgeopt.errors import PluginError, UsageError, did_you_mean
from edgeopt.options import check_options_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class RegisteredBackend:
    """A backend, and the installed distribution that it came from."""

    backend: type[Backend]
    distribution: str
    version: str

    @property
    def plugin(self) -> str:
        """Distribution and version in one text, as a run records them."""
        return f"{self.distribution} {self.version}"

    def why_not(self) -> str | None:
        """Return why the backend cannot work here, or None; an exception in its own check is a reason too."""
        try:
            reason = self.backend.unavailable()
        except Exception as error:  # noqa: BLE001 - a stranger's check may raise anything
            return f"its check failed: {type(error).__name__}: {error}"
        return None if reason is None else str(reason)


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin that does not keep the contract, and why."""

    name: str
    distribution: str
    version: str
    reason: str
    claims: str = ""
    """The name of its backend, where another plugin claims it too."""


@dataclass(frozen=True, slots=True)
class Registry:
    """All plugins of this environment."""

    backends: dict[str, RegisteredBackend] = field(default_factory=dict)
    broken: tuple[BrokenPlugin, ...] = ()

    def get(self, name: str) -> RegisteredBackend:
        """Return the backend called `name`.

        Raises:
            UsageError: There is none.
            PluginError: It belongs to a broken plugin.
        """
        if name in self.backends:
            return self.backends[name]
        for plugin in self.broken:
            if plugin.claims == name:
                raise PluginError(plugin.reason, hint="uninstall all of them but one")
            if plugin.name == name:
                who = f"{plugin.distribution} {plugin.version}"
                raise PluginError(
                    f"the plugin {name} of {who} is broken: {plugin.reason}",
                    hint=f"tell its authors, or remove it: pip uninstall {plugin.distribution}",
                )
        raise UsageError(f"no backend is called {name!r}", hint=did_you_mean(name, self.backends))


@cache
def find_backends() -> Registry:
    """Load every plugin of the entry-point group and return what works and what does not.

    Two plugins that claim one backend name are both broken: neither is silently preferred.
    """
    found: list[tuple[str, RegisteredBackend]] = []
    broken: list[BrokenPlugin] = []
    for entry in _entry_points():
        distribution, version = _origin(entry)
        try:
            found += [(entry.name, RegisteredBackend(b, distribution, version)) for b in _load(entry)]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's module does, it is one row
            reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            broken.append(BrokenPlugin(entry.name, distribution, version, reason))
    names = [registered.backend.name for _, registered in found]
    clashes = {name for name in names if names.count(name) > 1}
    for entry_name, registered in found:
        if registered.backend.name in clashes:
            rivals = sorted({r.plugin for _, r in found if r.backend.name == registered.backend.name})
            reason = f"the backend name {registered.backend.name!r} is claimed more than once: {' and '.join(rivals)}"
            name = registered.backend.name
            broken.append(BrokenPlugin(entry_name, registered.distribution, registered.version, reason, claims=name))
    backends = {r.backend.name: r for _, r in found if r.backend.name not in clashes}
    return Registry(dict(sorted(backends.items())), tuple(broken))


def _entry_points() -> list[metadata.EntryPoint]:
    """Return the entry points of the group, each once, though a folder may stand twice on the path."""
    seen: dict[tuple[str, str, tuple[str, str]], metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=hookspec.ENTRY_POINT_GROUP):
        seen.setdefault((entry.name, entry.value, _origin(entry)), entry)
    return [seen[key] for key in sorted(seen)]


def _origin(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution that brought `entry`."""
    if entry.dist is None:
        return ("unknown", "0")
    return (entry.dist.name, entry.dist.version)


def _load(entry: metadata.EntryPoint) -> Iterator[type[Backend]]:
    """Yield the checked backend classes of one plugin.

    Raises:
        PluginError: It does not keep the contract.
    """
    manager = pluggy.PluginManager(hookspec.PROJECT)
    manager.add_hookspecs(hookspec)
    manager.register(entry.load(), name=entry.name)
    manager.check_pending()
    if not manager.hook.edgeopt_backends.get_hookimpls():
        raise PluginError(f"{entry.value} implements no hook edgeopt_backends; is @hookimpl missing?")
    for group in manager.hook.edgeopt_backends():
        if isinstance(group, (str, bytes)) or not hasattr(group, "__iter__"):
            raise PluginError(f"edgeopt_backends() returned {type(group).__name__}, not an iterable of Backend classes")
        yield from _checked(group)


def _checked(group: Iterable[Any]) -> Iterator[type[Backend]]:
    """Yield the classes in `group`, or say what is missing in the first bad one."""
    for item in group:
        if not (isinstance(item, type) and issubclass(item, Backend)):
            raise PluginError(f"edgeopt_backends() returned {item!r}, which is no subclass of Backend")
        if inspect.isabstract(item):
            missing = ", ".join(sorted(item.__abstractmethods__))
            raise PluginError(f"{item.__name__} does not implement {missing}")
        for member in ("name", "summary", "runner"):
            if not hasattr(item, member):
                raise PluginError(f"{item.__name__} has no {member}")
        if not isinstance(item.name, str) or not NAME.fullmatch(item.name):
            raise PluginError(f"{item.__name__}.name is {item.name!r}; wanted lower case with hyphens")
        if not Path(item.runner).is_file():
            raise PluginError(f"{item.__name__}.runner is {item.runner}, and there is no such file")
        check_options_class(item.Options)
        for text in item.requires:
            if problem := requirements.check(text):
                raise PluginError(f"{item.__name__}.requires has {text!r}, which is no requirement: {problem}")
        yield item
