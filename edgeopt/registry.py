"""The backends of all plugins, by name; if two plugins claim one name, neither gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from edgeopt.discovery import find_plugins
from edgeopt.errors import PluginError, UsageError, did_you_mean
from edgeopt.isolation import OwnEnvironment
from edgeopt.probe import call_stranger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeopt.contract import Backend
    from edgeopt.discovery import Plugin


@dataclass(frozen=True, slots=True)
class RegisteredBackend:
    """A backend and its plugin."""

    backend: type[Backend]
    plugin: Plugin

    @property
    def environment(self) -> OwnEnvironment | None:
        """The backend's own environment, if it declares one."""
        if not self.backend.environment:
            return None
        return OwnEnvironment(self.backend.name, self.plugin.module, tuple(self.backend.environment))

    def why_not(self) -> str | None:
        """Return the reason why the backend is unavailable here, or None; an exception in its check is one too."""
        own = self.environment
        if own is not None and not own.is_ready:
            return f"its own environment is not made yet; make it: edgeopt plugins prepare {self.backend.name}"
        try:
            reason: object = call_stranger(self.backend.unavailable)
        except PluginError as error:
            return f"its check failed: {error.message}"
        if reason is None or isinstance(reason, str):
            return reason
        return f"its check gave a {type(reason).__name__}; wanted None, or a text that says why"


@dataclass(frozen=True, slots=True)
class Registry:
    """All plugins of this Python environment, and the backends available by name."""

    plugins: tuple[Plugin, ...] = ()
    backends: dict[str, RegisteredBackend] = field(default_factory=dict)
    clashes: dict[str, str] = field(default_factory=dict)
    """By the name of a backend that several plugins claim: a message that lists them."""

    @property
    def broken(self) -> tuple[tuple[Plugin, str], ...]:
        """Every plugin with a problem, and the problem."""
        problems = [(plugin, plugin.problem) for plugin in self.plugins if plugin.problem]
        problems += [
            (plugin, reason)
            for name, reason in self.clashes.items()
            for plugin in self.plugins
            if any(backend.name == name for backend in plugin.backends)
        ]
        return tuple(problems)

    def get(self, name: str) -> RegisteredBackend:
        """Return the backend called `name`.

        Raises:
            UsageError: No backend has that name.
            PluginError: Its plugin is broken, or several plugins claim the name.
        """
        if name in self.backends:
            return self.backends[name]
        if name in self.clashes:
            raise PluginError(self.clashes[name], hint="uninstall all of them but one, or use --no-plugin")
        for plugin in self.plugins:
            if plugin.problem and plugin.is_called(name):
                raise PluginError(
                    f"the plugin {plugin.name} of {plugin.origin} is broken: {plugin.problem}",
                    hint=f"tell its authors, or remove it: pip uninstall {plugin.distribution}",
                )
        raise UsageError(f"no backend is called {name!r}", hint=did_you_mean(name, self.backends))


@cache
def find_backends() -> Registry:
    """Load every plugin and return the registry, broken plugins included.

    Raises:
        UsageError: `EDGEOPT_PLUGINS` names a plugin that is not installed.
    """
    return make_registry(find_plugins())


def make_registry(plugins: Iterable[Plugin]) -> Registry:
    """Return the registry of some plugins; a name that is claimed twice is left out."""
    listed = tuple(plugins)
    claims: dict[str, list[RegisteredBackend]] = {}
    for plugin in listed:
        for backend in plugin.backends:
            claims.setdefault(backend.name, []).append(RegisteredBackend(backend, plugin))
    clashes = {
        name: f"the backend name {name!r} is claimed more than once: {_rivals(found)}"
        for name, found in claims.items()
        if len(found) > 1
    }
    backends = {name: claims[name][0] for name in sorted(claims) if name not in clashes}
    return Registry(listed, backends, clashes)


def _rivals(claims: list[RegisteredBackend]) -> str:
    return " and ".join(sorted({claim.plugin.origin for claim in claims}))
