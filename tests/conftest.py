"""Fixtures that several test modules need."""

import json
import os
import subprocess
import sys
import textwrap
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeopt.devices import local
from edgeopt.devices.base import thread_environment
from edgeopt.devices.forked import BACKEND, TENSORFLOW
from edgeopt.measure import forking
from tests.clean import CleanEnvironment
from tests.launch import SharedParent

LAUNCH = Path(__file__).with_name("launch.py")
LONGEST = (
    "test_right_everywhere",
    "test_emulated_machine",
    "test_conformance",
    "test_distributions",
    "test_checks",
)
"""The files that take minutes, the longest first."""

pytest_plugins = ["tests.standins.fixtures", "tests.standins.registry"]


def pytest_addoption(parser):
    parser.addoption(
        "--cpu",
        action="append",
        default=[],
        metavar="PROCESSOR",
        help="Judge quantized artifacts on this processor too: Haswell, Nehalem or another one that qemu-user"
        " emulates, or arm64 for a board. May be repeated.",
    )


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest: none of them is left to one process when the others are done."""
    places = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def _no_process_in_a_quick_test(request, monkeypatch):
    """Fail a test that is marked as quick and starts a process."""
    if request.node.get_closest_marker("quick"):

        def refuse(*_arguments, **_options):
            pytest.fail("a test that is marked as quick must not start a process")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setattr(os, "fork", refuse)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models beside a developer's checkout; a user's clone has none."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("needs the folder of real models beside the checkout")
    return folder


def install(site, name, code, version="1.0"):
    """Put a distribution with one plugin into a folder of packages, as an installer would leave it there."""
    module = name.replace("-", "_")
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(textwrap.dedent(code))
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[edgeopt]\n{name} = {module}\n")


@dataclass
class CommandLine:
    """Runs edgeopt as a user does, in a folder of its own and with plugins of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    """The name under which a process listens that has imported TensorFlow; edgeopt imports it itself if empty."""

    def install(self, name, code, version="1.0"):
        site = self.folder / "site-packages"
        install(site, name, code, version)
        inherited = os.environ.get("PYTHONPATH")
        self.environment["PYTHONPATH"] = f"{site}{os.pathsep}{inherited}" if inherited else str(site)

    def start(self, *arguments, **options):
        own = {"EDGEOPT_CACHE": str(self.folder / "cache"), "EDGEOPT_CONFIG": str(self.folder / "config")}
        environment = {**os.environ, "COLUMNS": "100", **own, **self.environment}
        # What that process has on its path is what it had when it started.
        is_shared = self.parent and arguments[:1] in {("export",), ("profile",)} and not self.environment
        command = [str(LAUNCH), self.parent] if is_shared else ["-m", "edgeopt"]
        return subprocess.Popen(
            [sys.executable, *command, *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *arguments, timeout=300):
        """Exit code, standard output and standard error."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=timeout)
        return process.returncode, out, err

    def json(self, *arguments, timeout=300):
        """Exit code and the document on standard output, of a command that is asked for JSON."""
        code, out, err = self.run(*arguments, "--json", "-", timeout=timeout)
        assert out, err
        return code, json.loads(out)


@pytest.fixture(scope="session")
def tensorflow_parent():
    """The name under which a process listens that has imported TensorFlow; see `tests/launch.py`."""
    if sys.platform != "linux":
        yield ""
        return
    name = f"edgeopt-tests-{uuid.uuid4().hex}"
    variables = {**os.environ, **thread_environment(1), BACKEND: TENSORFLOW}
    command = [sys.executable, forking.__file__, name, TENSORFLOW]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=variables, start_new_session=True, **streams) as process:
        try:
            yield name  # it listens while it imports
        finally:
            process.kill()


@pytest.fixture(scope="module")
def shared_import(tensorflow_parent):
    """Let what calls the library share that import, as the command line does in tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedParent, "name", tensorflow_parent)
        patch.setattr(local, "WarmParent", SharedParent)
        yield


@pytest.fixture
def edgeopt(tmp_path, request) -> CommandLine:
    """edgeopt as a user runs it; only what needs TensorFlow waits for its import, once."""
    is_quick = request.node.get_closest_marker("quick")
    return CommandLine(tmp_path, parent="" if is_quick else request.getfixturevalue("tensorflow_parent"))


@pytest.fixture(scope="session")
def clean(tmp_path_factory) -> CleanEnvironment:
    """The one clean environment of a test run: TensorFlow takes a while to install."""
    return CleanEnvironment.make(tmp_path_factory.mktemp("clean"))
