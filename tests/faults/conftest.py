"""An export to profile, and devices that the user's ssh and adb know, for faults as a user sees them."""

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeopt.devices import adb, ssh
from tests.conftest import CommandLine

TARGETS = "tflite-float32,tflite-int8"
QUICK = ("--seconds", "0.1", "--min-iterations", "24")
"""Enough to see that something was measured."""
RUN_LIMIT_S = 180


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory) -> Path:
    """The demo, exported once: a folder with two artifacts, which no test may change."""
    folder = tmp_path_factory.mktemp("artifacts")
    code, _, err = CommandLine(folder).run("export", "-t", TARGETS, *QUICK, timeout=RUN_LIMIT_S)
    assert code == 0, err
    return folder / "dist" / "demo"


@dataclass
class Desk:
    """A user's desk: a copy of the artifacts as `demo`, a command line, and a book of devices."""

    edgeopt: CommandLine

    @property
    def made(self):
        return self.edgeopt.folder / "demo"

    def know(self, name, board, *options):
        """Let the user's ssh and the book of devices know a board, or another way to it, by a name."""
        config = self.edgeopt.folder / "ssh_config"
        blocks = config.read_text() if config.exists() else ""
        config.write_text(blocks + board.config.read_text().replace(f"Host {board.alias}\n", f"Host {name}\n"))
        self.edgeopt.environment[ssh.COMMAND_VARIABLE] = shlex.join(["ssh", "-F", str(config)])
        code, _, err = self.edgeopt.run("devices", "add", name, f"ssh://{name}", *options)
        assert code == 0, err

    def reach(self, phone):
        """Let adb see a phone, and return its address."""
        self.edgeopt.environment[adb.COMMAND_VARIABLE] = f"adb -P {phone.server.port}"
        return f"adb://{phone.serial}"

    def profile(self, *arguments):
        """Start measuring the artifacts as `edgeopt profile demo` does."""
        return self.edgeopt.start("profile", "demo", *arguments)


@pytest.fixture
def desk(edgeopt, artifacts) -> Desk:
    shutil.copytree(artifacts, edgeopt.folder / "demo")
    return Desk(edgeopt)
