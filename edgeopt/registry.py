"""The backends of all plugins, by name; two plugins that claim one name both lose it."""

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
    """A backend, and the plugin that it came from."""

    backend: type[Backend]
    plugin: Plugin

    @property
    def environment(self) -> OwnEnvironment | None:
        """The environment in which it works, where it declares one of its own."""
        if not self.backend.environment:
            return None
        return OwnEnvironment(self.backend.name, self.plugin.module, tuple(self.backend.environment))

    def why_not(self) -> str | None:
        """Return why the backend cannot work here, or None; an exception in its own check is a reason too."""
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
    """All plugins of this Python environment, and the backends that can be named."""

    plugins: tuple[Plugin, ...] = ()
    backends: dict[str, RegisteredBackend] = field(default_factory=dict)
    clashes: dict[str, str] = field(default_factory=dict)
    """By the name of a backend that several plugins claim: who they are."""

    @property
    def broken(self) -> tuple[tuple[Plugin, str], ...]:
        """Every plugin with something wrong, and what it is."""
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
            UsageError: There is none.
            PluginError: It belongs to a broken plugin.
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
    """Load every plugin and return what works and what does not.

    Raises:
        UsageError: `EDGEOPT_PLUGINS` names a plugin that is not installed.
    """
    return make_registry(find_plugins())


def make_registry(plugins: Iterable[Plugin]) -> Registry:
    """Return the registry of some plugins; a name that is claimed twice is nobody's."""
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
