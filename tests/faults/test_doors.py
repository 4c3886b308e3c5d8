"""Boards that must not be trusted, do not let us in, or do not answer: each beside a healthy device."""

import json
import time

import pytest

from tests.faults.conftest import QUICK, RUN_LIMIT_S
from tests.standins.sshhost import new_key


@pytest.fixture
def beside_this_machine(desk):
    """Profile the board `pi5` together with this machine; what is said of the board, and how long it took."""

    def profile():
        begin = time.monotonic()
        devices = ("--device", "pi5", "--device", "local")
        code, document = desk.edgeopt.json(
            "profile", "demo", "-t", "tflite-int8", *devices, *QUICK, timeout=RUN_LIMIT_S
        )
        took_s = time.monotonic() - begin
        there, here = (run["results"][1] for run in document["runs"])
        assert (here["status"], here["latency"]["launches"] >= 3) == ("ok", True)
        assert (code, there["error"]["kind"], there["latency"]) == (6, "device", None)
        kept = json.loads((desk.made / "profile-pi5.json").read_text())
        assert kept["results"][1]["error"] == there["error"]
        return there["error"], took_s

    return profile


def test_a_board_that_was_never_seen_before(desk, sshd, beside_this_machine):
    desk.know("pi5", sshd, "--python", sshd.python)
    sshd.known_hosts.write_text("")
    error, _ = beside_this_machine()
    assert error["message"] == "the host key of pi5 is unknown"
    assert "run ssh -F" in error["hint"]


def test_a_board_with_another_host_key_than_before(desk, sshd, beside_this_machine):
    desk.know("pi5", sshd, "--python", sshd.python)
    sshd.change_host_key()
    error, _ = beside_this_machine()
    assert error["message"] == "the host key of pi5 has changed: it is another machine, or somebody is in between"
    assert "ssh-keygen -R" in error["hint"]


def test_a_board_that_does_not_know_our_key(desk, sshd, beside_this_machine):
    desk.know("pi5", sshd, "--python", sshd.python)
    new_key(sshd.key)
    error, _ = beside_this_machine()
    assert error["message"] == "pi5 accepts none of your keys"
    assert error["hint"]


def test_a_board_that_never_answers(desk, sshd, relay, beside_this_machine):
    silent = relay(sshd.port)
    desk.know("pi5", sshd.through(silent.port), "--python", sshd.python)
    silent.stalled = True
    error, took_s = beside_this_machine()
    assert took_s < 30
    assert error["message"] == "pi5 does not answer"
    assert error["hint"]


def test_this_machine_twice_at_once_here_and_through_ssh(desk, sshd):
    desk.know("self", sshd, "--python", sshd.python)
    code, document = desk.edgeopt.json("profile", "demo", "--device", "self", "--device", "local", *QUICK)
    assert code == 0
    there, here = document["runs"]
    assert [run["device"]["uri"] for run in (there, here)] == ["ssh://self", "local"]
    for first, second in zip(there["results"][1:], here["results"][1:], strict=True):
        assert (first["status"], second["status"]) == ("ok", "ok")
        assert first["fidelity"] == second["fidelity"]
        assert first["artifact"] == second["artifact"]
    assert {file.name for file in desk.made.glob("profile-*")} == {
        "profile-self.json",
        "profile-self.jsonl",
        "profile-local.json",
        "profile-local.jsonl",
    }
