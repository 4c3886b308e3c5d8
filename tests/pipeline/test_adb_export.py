"""An export that is measured on a phone with Python, through the real `adb`, while its link is cut."""

import json

import pytest

from edgeopt.devices.adb import COMMAND_VARIABLE
from tests.standins.waiting import until

pytestmark = pytest.mark.slow

EXPORT = ("export", "-t", "tflite-float32", "--seconds", "10", "--json", "-")
MEASURING_S = 120


def test_a_phone_measures_and_a_cut_costs_one_round(python_phone, edgeopt):
    edgeopt.environment[COMMAND_VARIABLE] = f"adb -P {python_phone.server.port}"
    with edgeopt.start(*EXPORT, "--device", f"adb://{python_phone.serial}") as running:
        told = iter(running.stderr.readline, "")
        assert any("measuring 1 artifact" in line for line in told), "it never came to measuring"
        until(lambda: "harness.py" in " ".join(python_phone.processes().values()), MEASURING_S)
        python_phone.link.cut()
        out, err = running.communicate(timeout=MEASURING_S)
    assert running.returncode == 0, err
    assert "the link to adb://" in err
    run = json.loads(out)
    source, row = run["results"]
    assert source["untimed"] == f"{run['device']['uri']} has no tensorflow, which the model needs"
    assert (row["status"], row["fidelity"]["top1_agreement"]) == ("ok", 1.0)
    assert row["latency"]["launches"] >= 3
    assert {"numpy", "ai-edge-litert"} <= set(run["device"]["runtimes"])
    until(lambda: python_phone.processes() == {})
