"""Runs commands in this process: fast, for whatever starts no children."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edgeopt.cli import console
from edgeopt.cli.app import app


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path) -> Callable[..., Ended]:
    """Run `edgeopt ARGUMENTS` in an empty folder, piped, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("EDGEOPT_CONFIG", str(tmp_path / "config"))
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Ended:
        console.results.cache_clear()
        console.messages.cache_clear()
        with pytest.raises(SystemExit) as ended:
            app(list(arguments), prog_name="edgeopt")
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return call
