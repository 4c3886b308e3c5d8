"""The base class of the checks: gets exports and answers, or skips the check."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from edgeopt.discovery import Plugin
from edgeopt.registry import RegisteredBackend, find_backends
from edgeopt.testing.guide import last_lines, refuse
from edgeopt.testing.lab import Lab
from edgeopt.testing.machine import PLAIN, import_everywhere
from edgeopt.testing.rig import RunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeopt.contract import Array, Backend
    from edgeopt.errors import EdgeoptError
    from edgeopt.pipeline.exporting import Exported
    from edgeopt.testing.guide import Section
    from edgeopt.testing.lab import Attempt
    from edgeopt.testing.rig import Rig

HOOK = "edgeopt_backends"
NOT_INSTALLED = "(not installed)"
"""Stands for the distribution of a plugin that edgeopt does not find by itself."""


class Subject:
    """The backend of a class of checks, and its results so far.

    A failure that one check covers must not fail the others: they are skipped, and say that another check reports it.
    """

    backend: ClassVar[type[Backend]]
    min_agreement: ClassVar[float] = 0.95
    varies: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[Mapping[str, Any]] = {}
    timeout_s: ClassVar[float] = 600.0
    lab: ClassVar[Lab]

    @classmethod
    def setup_class(cls) -> None:
        """Create the lab that all checks of the class share; nothing is exported yet."""
        cls.lab = Lab(find_registered(cls.backend), cls.options, cls.timeout_s)

    @classmethod
    def teardown_class(cls) -> None:
        """Remove the lab."""
        cls.lab.close()

    def attempt(self, model: str, place: str = PLAIN) -> Attempt:
        """Return the outcome of a model's export; skip the check if nothing can be exported here."""
        reason = self.lab.registered.plugin.problem or self.lab.why_not()
        if reason is not None:
            pytest.skip(reason)
        import_everywhere()
        return self.lab.export(model, place)

    def exported(self, model: str, place: str = PLAIN) -> Exported:
        """Return a model's export; skip the check if it failed, which another check reports."""
        attempt = self.attempt(model, place)
        if attempt.exported is None:
            pytest.skip(f"the export of the model {model!r} failed, which another check reports")
        return attempt.exported

    def rig(self, model: str) -> Rig:
        """Return a loaded artifact; skip the check if the runner does not load it."""
        self.exported(model)
        try:
            return self.lab.rig(model)
        except RunnerError:
            return pytest.skip("the runner does not load the model, which another check reports")

    def answers(self, model: str = "demo") -> dict[str, Array]:
        """Return an artifact's answers to the evaluation feeds; skip the check if it does not run."""
        self.exported(model)
        try:
            return self.lab.answers(model)
        except RunnerError:
            return pytest.skip("the runner does not run to the end, which another check reports")

    def must_export(self, model: str, section: Section, expected: str) -> Exported:
        """Return a model's export; fail the check if it failed, unless for the location or list of its files."""
        attempt = self.attempt(model)
        if attempt.error is not None and not attempt.is_mislisted and not attempt.has_strayed:
            refuse(section, expected, describe(attempt.error, attempt.log))
        return self.exported(model)

    def must_answer(self, model: str, section: Section, expected: str) -> dict[str, Array]:
        """Return an artifact's answers to the evaluation feeds; fail the check if it does not run."""
        try:
            return self.lab.answers(model)
        except RunnerError as error:
            refuse(section, expected, describe(error))


def describe(error: EdgeoptError, log: Path | None = None) -> str:
    """Return an error with its hint and the last lines of its log."""
    place = log or (Path(error.log) if error.log else None)
    hint = f" (hint: {error.hint})" if error.hint else ""
    return f"{error.message}{hint}{last_lines(place) if place else ''}"


def find_registered(backend: type[Backend]) -> RegisteredBackend:
    """Return a backend with its plugin.

    A plugin that is not installed yet is made from the module that has the hook, so that the other checks can run.
    """
    wanted = (backend.__module__, backend.__qualname__)
    for plugin in find_backends().plugins:
        for found in plugin.backends:
            if (found.__module__, found.__qualname__) == wanted:
                return RegisteredBackend(found, plugin)
    own = backend.__module__
    module = next((name for name in _upwards(own) if hasattr(sys.modules.get(name), HOOK)), "")
    problem = "" if module else f"neither {own} nor a package that it lies in has the hook {HOOK}"
    return RegisteredBackend(backend, Plugin(module, module, NOT_INSTALLED, "", backends=(backend,), problem=problem))


def _upwards(module: str) -> Iterator[str]:
    """Yield a module and the packages that contain it."""
    while module:
        yield module
        module = module.rpartition(".")[0]
