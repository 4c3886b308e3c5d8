"""Links that are cut, slow or silent while a device is measured."""

import json

from tests.standins.waiting import until

MEASURING = ("--seconds", "4", "--json", "-")
LIMIT_S = 120


def measuring(running, board):
    """Wait until an artifact runs on the board."""
    told = iter(running.stderr.readline, "")
    assert any("measuring 2 artifacts" in line for line in told), "it never came to measuring"
    until(lambda: "harness.py" in " ".join(board.processes().values()), LIMIT_S)


def test_a_cut_costs_one_round(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with desk.profile("--device", "pi5", *MEASURING) as running:
        measuring(running, sshd)
        sshd.kill_sessions()
        out, err = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, err
    assert "the link to ssh://pi5" in err
    (run,) = json.loads(out)["runs"]
    rows = {result["target"]: result for result in run["results"]}
    assert [rows[name]["status"] for name in ("tflite-int8", "tflite-float32")] == ["ok", "ok"]
    assert rows["tflite-int8"]["latency"]["launches"] >= 3
    until(lambda: sshd.processes() == {})
