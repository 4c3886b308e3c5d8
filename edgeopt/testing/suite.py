"""Checks of installed backends, run by pytest in a child process and reported one by one.

`run_suite` is the host's side; run as a program, this module is the child. It receives one message, `check`, sends one
event per finished check, and then answers with `error`, empty on success. The output of pytest goes to the log.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgeopt.devices.channel import Channel
from edgeopt.errors import PluginError
from edgeopt.measure.harness import Wire
from edgeopt.testing.checks import in_words, method_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest

Outcome: TypeAlias = Literal["ok", "failed", "skipped"]
OUTCOMES: dict[str, Outcome] = {"passed": "ok", "failed": "failed", "skipped": "skipped"}
SEE = "see "
LOG, TEMPORARY = "pytest.log", "tmp"
TEST_FILE = """
from edgeopt.registry import find_backends
from edgeopt.testing import check_backend

backend = find_backends().get({name!r}).backend
TestBackend = check_backend(backend, **{how!r})
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check of one backend."""

    backend: str
    check: str
    """Name of the check, in words."""
    outcome: Outcome
    reason: str
    """Why it failed or was skipped; empty if it passed."""
    see: str
    """Link to the explanation in the guide; empty unless it failed."""
    seconds: float


def run_suite(
    backends: Sequence[str],
    how: Mapping[str, Any],
    folder: Path,
    tell: Callable[[Finding], None],
    only: Mapping[str, Sequence[str]] | None = None,
) -> list[Finding]:
    """Check installed backends in a child process and return the findings, in the order of the checks.

    Args:
        backends: Their names.
        how: Further arguments of `check_backend`.
        folder: An empty folder; pytest's output stays in it as `LOG`, and everything else is removed at the end.
        tell: Receives each finding as soon as it is available.
        only: The checks to run, by backend; all checks of backends that are not named.

    Raises:
        PluginError: The checks did not run to the end.
    """
    found: list[Finding] = []

    def take(event: dict[str, Any]) -> None:
        del event["event"]
        found.append(Finding(**event))
        tell(found[-1])

    # Check the installed packages only, without the user's pytest settings and plugins.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ours = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONSAFEPATH": "1", "TMPDIR": str(folder / TEMPORARY)}
    log = folder / LOG
    (folder / TEMPORARY).mkdir()
    try:
        with Channel([sys.executable, "-m", __name__], log=log, env={**kept, **ours}) as channel:
            wanted = {name: list(checks) for name, checks in (only or {}).items()}
            message = {"op": "check", "backends": list(backends), "how": dict(how), "only": wanted}
            answer = channel.ask(message, None, take)
    finally:
        shutil.rmtree(folder / TEMPORARY, ignore_errors=True)
    if answer["error"]:
        raise PluginError(f"the checks could not be run: {answer['error']}", log=str(log))
    return found


@dataclass(slots=True)
class Reporter:
    """A pytest plugin that reports the result of each check."""

    tell: Callable[[dict[str, Any]], None]
    backend: str
    _seconds: dict[str, float] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Report one phase of one check: its call, or another phase that did not pass."""
        seconds = self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if report.when == "call" or report.outcome != "passed":
            reason, see = _reason(report)
            self.tell(
                {
                    "event": "checked",
                    "backend": self.backend,
                    "check": in_words(report.nodeid.rpartition("::")[2]),
                    "outcome": OUTCOMES[report.outcome],
                    "reason": reason,
                    "see": see,
                    "seconds": round(seconds, 2),
                }
            )


def _reason(report: pytest.TestReport) -> tuple[str, str]:
    """Return why a check failed or was skipped, and the link into the guide."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: "), ""
    text = report.longreprtext.strip()
    reason, _, see = text.rpartition(f"\n{SEE}")
    return (reason, see) if reason else (text, "")


def _check(name: str, how: Mapping[str, Any], only: Sequence[str], wire: Wire) -> int:
    """Run the checks of one backend, all if none is named, and return pytest's exit code."""
    import pytest

    with tempfile.TemporaryDirectory(prefix="edgeopt-suite-") as folder:
        file = Path(folder, "test_backend.py")
        file.write_text(TEST_FILE.format(name=name, how=dict(how)), "utf-8")
        settings = Path(folder, "pytest.ini")
        settings.write_text("[pytest]\n", "utf-8")
        arguments = ["-v", "-p", "no:cacheprovider", "--rootdir", folder, "-c", str(settings)]
        arguments += [f"{file}::TestBackend::{method_of(check)}" for check in only] or [str(file)]
        return int(pytest.main(arguments, plugins=[Reporter(wire.send, name)]))


def main() -> None:
    """Answer one message and exit."""
    wire = Wire()
    message = wire.receive()
    failures = []
    for name in message["backends"]:
        sys.modules.pop("test_backend", None)  # every test file has this name
        code = _check(name, message["how"], message["only"].get(name, ()), wire)
        if code not in {0, 1}:
            failures.append(f"pytest ended with exit code {code} for {name}")
    wire.send({"error": "; ".join(failures)})


if __name__ == "__main__":
    main()
