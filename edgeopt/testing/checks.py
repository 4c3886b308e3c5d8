"""All checks, and the function that makes a test class of them for a backend."""

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

    `check_backend` makes subclasses. Write one by hand to omit a check on purpose, or to add some.
    """


def check_names() -> list[str]:
    """Return the names of the checks in words: `it synchronises`."""
    return [in_words(name) for name in dir(BackendChecks) if name.startswith(PREFIX)]


def in_words(test: str) -> str:
    """Return the name of a check, in words, from its method's name."""
    return test.removeprefix(PREFIX).replace("_", " ")


def method_of(check: str) -> str:
    """Return the method name of a check."""
    return PREFIX + check.replace(" ", "_")


def check_backend(
    backend: type[Backend],
    *,
    min_agreement: float = 0.95,
    varies: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    timeout_s: float = 600.0,
) -> type[BackendChecks]:
    """Return a test class for a backend; pytest runs it if its name begins with `Test`.

    Args:
        backend: The class that the plugin's hook returns.
        min_agreement: Minimum share of the demo's images on which it must agree with the source, from 0 to 1.
        varies: Artifact files that differ between exports, relative to its folder; `*` matches any text.
        options: Values for the backend's options; omitted ones keep their defaults.
        timeout_s: Maximum time of one export, or of one response of the runner, in seconds.

    Raises:
        UsageError: The backend does not have such an option, or the option does not accept the value.
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
