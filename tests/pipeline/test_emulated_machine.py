"""Rankings on a machine whose clock counts instructions: the same every time, so they are asserted exactly."""

import shlex

import pytest

import edgeopt
from edgeopt.devices.ssh import COMMAND_VARIABLE
from edgeopt.pipeline import reference

MEASURING = {"seconds": 0.0, "min_iterations": 24, "timeout_s": 600.0}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of the demo, a small residual network, with ten feeds to answer."""
    out = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "MOST_BYTES", 10_000)
        edgeopt.export(targets="tflite-int8,tflite-float32", out=out, seconds=0.1, min_iterations=24)
    return out / "demo"


def profile(demo, machine, monkeypatch):
    """Return the median of float and of int8, in seconds of the machine's own clock."""
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(machine.config)]))
    (run,) = edgeopt.profile(demo, f"ssh://{machine.alias}", **MEASURING)
    rows = {result.target: result for result in run.results}
    assert [rows[name].error for name in rows] == [None] * 3
    assert run.device.details["emulated"] == "qemu"
    shown = run.table(200)  # nobody may take its figures for a board's milliseconds
    assert f"on ssh://{machine.alias}, an emulated processor (qemu, 1x Cortex-" in shown
    assert " emulated " in shown
    assert " latency " not in shown
    for name in ("tflite-int8", "tflite-float32"):  # three processes of each, and no two clocks alike
        latency = rows[name].latency
        assert latency.launches == 3
        assert latency.ci95_s[1] - latency.ci95_s[0] < 0.02 * latency.median_s
    return rows["tflite-float32"].latency.median_s, rows["tflite-int8"].latency.median_s


@pytest.mark.slow
@pytest.mark.parametrize("emulated_machine", ["cortex-a76"], indirect=True)
def test_int8_wins_where_the_processor_has_the_dot_product(demo, emulated_machine, monkeypatch):
    float_s, int8_s = profile(demo, emulated_machine, monkeypatch)
    assert float_s > 1.5 * int8_s
