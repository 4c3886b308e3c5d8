"""A board of another architecture: measured like any other, and the same kernels answer the same bits."""

import json
import shlex
from contextlib import closing

import numpy as np
import pytest

from edgeopt.devices import remote_device
from edgeopt.devices.book import Entry
from edgeopt.devices.local import LocalDevice
from edgeopt.devices.ssh import COMMAND_VARIABLE
from edgeopt.pipeline.evaluating import evaluate
from edgeopt.pipeline.reference import load_reference
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.pipeline.workspace import Workspace
from edgeopt.registry import find_backends
from edgeopt.source.choice import DEMO
from tests.conftest import CommandLine
from tests.faults.conftest import QUICK, RUN_LIMIT_S
from tests.standins.waiting import until

pytestmark = pytest.mark.slow


def rows(run):
    return {result["target"]: result for result in run["results"]}


def test_a_board_of_another_architecture_is_measured_and_said_to_be_emulated(desk, arm_board):
    desk.know("pi5", arm_board, "--python", arm_board.python)
    command = ("profile", "demo", "-t", "tflite-int8", "--device", "pi5", *QUICK, "--json", "all.json")
    code, out, err = desk.edgeopt.run(*command, timeout=RUN_LIMIT_S)
    assert code == 0, err
    assert " on pi5, an emulated processor (ssh://pi5, " in out
    (run,) = json.loads((desk.edgeopt.folder / "all.json").read_text())["runs"]
    exported = rows(json.loads((desk.made / "run.json").read_text()))["tflite-int8"]
    row = rows(run)["tflite-int8"]
    assert run["device"]["machine"] == "aarch64"
    assert row["status"] == "ok"
    # Its softmax is another one there, and one step of int8 off in a few answers of ten thousand.
    assert row["fidelity"]["sqnr_db"] == pytest.approx(exported["fidelity"]["sqnr_db"], abs=0.1)
    assert row["latency"]["launches"] >= 3
    until(lambda: arm_board.processes() == {})


@pytest.fixture
def logits(tmp_path):
    """The folder of the demo's int8 artifact without its softmax, the one operator that XNNPACK leaves to others."""
    import keras

    model = keras.models.load_model(DEMO)
    model.layers[-1].activation = keras.activations.linear
    model.save(tmp_path / "logits.keras")
    code, _, err = CommandLine(tmp_path).run("export", "logits.keras", "-t", "tflite-int8", *QUICK, timeout=RUN_LIMIT_S)
    assert code == 0, err
    return tmp_path / "dist" / "logits"


def test_the_same_kernels_give_the_same_bits_there(logits, arm_board, monkeypatch, tmp_path):
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(arm_board.config)]))
    runner = find_backends().backends["tflite"].backend.runner
    model = json.loads((logits / "run.json").read_text())["model"]
    feeds = load_reference(logits, model["sha256"]).feeds
    there = remote_device(Entry("", uri=f"ssh://{arm_board.alias}", python=arm_board.python))
    there.connect()
    with Workspace.create(tmp_path, "demo") as workspace, closing(LocalDevice()) as here, closing(there):
        ours, theirs = (
            evaluate(
                device.uri.replace("/", ""),
                runner,
                logits / "tflite-int8",
                logits / "tflite-int8" / "model.tflite",
                feeds,
                device=device,
                workspace=workspace,
                settings=ExportSettings(),
                progress=Silence(),
            ).outputs
            for device in (here, there)
        )
    assert ours.keys() == theirs.keys()
    for name, output in ours.items():
        assert len(np.unique(output)) > 10
        assert np.array_equal(output.view(np.uint8), theirs[name].view(np.uint8))
