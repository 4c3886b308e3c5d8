"""What `edgeopt doctor` finds out, on this machine and where something is missing."""

import json
import sys
from importlib.metadata import version

import pytest

from edgeopt import environment
from edgeopt.environment import Gpus, Package
from edgeopt.errors import ExitCode


def test_a_tensorflow_that_does_not_answer_is_a_finding():
    found = environment.examine(gpu_limit_s=0.01)
    assert found.gpus.problem == "TensorFlow gave no answer within 0 s"
    assert {p.name: p.version for p in found.packages}["tensorflow"] == version("tensorflow")
    assert found.edgeopt == version("edgeopt")
    assert any(finding.text.startswith(found.gpus.problem) for finding in found.findings)
    assert [folder.purpose for folder in found.folders][:2] == ["output", "temporary files"]


@pytest.mark.parametrize(
    ("package", "text", "command", "code"),
    [
        (
            Package("pluggy", "pluggy>=1.6", None),
            "pluggy is not installed",
            "pip install 'pluggy>=1.6'",
            ExitCode.UNAVAILABLE,
        ),
        (
            Package("rich", "rich>=14", "13.9.4"),
            "rich 13.9.4 is too old",
            "pip install 'rich>=14'",
            ExitCode.UNAVAILABLE,
        ),
        (
            Package("tf-keras", "tf-keras>=2.21", None, "legacy"),
            "tf-keras is not installed; only models from Keras 2 need it",
            "pip install 'edgeopt[legacy]'",
            ExitCode.OK,
        ),
    ],
)
def test_what_is_missing_comes_with_the_command_that_adds_it(package, text, command, code):
    (finding,) = environment._missing([package])
    assert finding.text == text
    assert finding.command == f"{sys.executable} -m {command}"
    assert finding.code == code


def test_nothing_is_missing_where_versions_fit():
    fitting = [Package("a", "a>=2.21", "2.22.0rc1"), Package("b", "b", "0.1"), Package("c", "c>=9.0", "10.0")]
    assert list(environment._missing(fitting)) == []


def test_a_gpu_that_only_the_driver_sees():
    (finding,) = environment._about_gpus(Gpus((), ("NVIDIA T4, 550.1",)))
    assert finding.text == "the driver sees NVIDIA T4, 550.1, but TensorFlow sees no GPU"
    assert finding.command.endswith("-m pip install 'tensorflow[and-cuda]'")
    assert list(environment._about_gpus(Gpus(("T4",), ("NVIDIA T4",)))) == []


def test_doctor_asks_tensorflow_and_tells_everything(edgeopt):
    edgeopt.install("wreck", "import no_such_module")
    code, out, err = edgeopt.run("doctor", "--json", "doctor.json")
    assert (code, err) == (ExitCode.BROKEN_PLUGIN, "doctor: asking TensorFlow for GPUs\n")
    words = {line.split()[0] for line in out.splitlines() if line and not line.startswith(" ")}
    assert {"edgeopt", "python", "tensorflow", "tf-keras", "processor", "cores", "governor", "GPUs", "disk"} <= words
    assert "problem: the plugin wreck of wreck 1.0 is broken: ModuleNotFoundError" in out
    document = json.loads((edgeopt.folder / "doctor.json").read_text())
    assert document["gpus"]["problem"] == ""
    assert document["facts"]["cores"] >= 1
