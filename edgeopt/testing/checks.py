"""The checks together, and the one function that makes a class of them for a backend."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from edgeopt.options import fill
from edgeopt.testing.exports import ExportChecks
from edgeopt.testing.listing import ListingChecks
from edgeopt.testing.models import ModelChecks
from edgeopt.testing.running import RunnerChecks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeopt.contract import Backend

PREFIX = "test_"


class BackendChecks(ModelChecks, RunnerChecks, ExportChecks, ListingChecks):
    """All checks of one backend; pytest runs them from the last base to the first, the cheapest first.

    `check_backend` makes subclasses. Write one by hand to leave a check out on purpose, or to add some.
    """


def check_names() -> list[str]:
    """Return what the checks are called, in words: `it synchronises`."""
    return [in_words(name) for name in dir(BackendChecks) if name.startswith(PREFIX)]


def in_words(test: str) -> str:
    """Return what a check is called whose method is named `test`."""
    return test.removeprefix(PREFIX).replace("_", " ")


def method_of(check: str) -> str:
    """Return the name of a check's method."""
    return PREFIX + check.replace(" ", "_")


def check_backend(
    backend: type[Backend],
    *,
    min_agreement: float = 0.95,
    varies: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    timeout_s: float = 600.0,
) -> type[BackendChecks]:
    """Return a class of tests for a backend; give it a name that begins with `Test`, and pytest runs it.

    Args:
        backend: The class that the plugin's hook gives.
        min_agreement: On which part of the demo's images it must give the source's answer, from 0 to 1.
        varies: Files of the artifact that differ from export to export, relative to its folder; `*` is any text.
        options: Values for the backend's options; the defaults where left out.
        timeout_s: How long one export, or one answer of the runner, may take, in seconds.

    Raises:
        UsageError: The backend has no such option, or not with such a value.
    """
    if options:
        fill(backend.Options, options, origin="options")
    caller = sys._getframe(1).f_globals.get("__name__", __name__)  # noqa: SLF001 - as namedtuple does, for pytest's output
    members = {
        "__module__": caller,
        "__doc__": f"The conformance test of the backend {backend.name}.",
        "backend": backend,
        "min_agreement": min_agreement,
        "varies": tuple(varies),
        "options": dict(options or {}),
        "timeout_s": timeout_s,
    }
    return type(f"Test{backend.__name__}", (BackendChecks,), members)
