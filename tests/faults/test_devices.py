"""What a device lacks, or does instead of answering: its own block says so, and the other devices go on."""

import pytest

from tests.faults.conftest import QUICK
from tests.faults.seen import assert_left_alone, assert_measured, ended, errors, rows, statuses
from tests.standins import needs
from tests.standins.limits import Limits
from tests.standins.sshd import Sshd

pytestmark = pytest.mark.slow

ONE = ("--target", "tflite-int8")
HERE = ("--device", "local")
INT8 = ["tflite-int8"]


def profile(desk, *devices, options=(*ONE, *QUICK)):
    """Exit code, runs by device, and what was told, of one profile on these devices."""
    named = [part for name in devices for part in ("--device", name)]
    with desk.profile(*named, *options, "--json", "-") as running:
        code, document, err = ended(running)
    return code, dict(zip(devices, document["runs"], strict=True)), err


def files(board):
    """The names of what was pushed to a board."""
    return set(board.run("find .cache/edgeopt/files -type f -exec basename {} ';'").stdout.split())


@pytest.fixture
def small(tmp_path):
    """A function that starts a board with limits."""
    needs.require("sshd", "ssh", "ssh-keygen", root=True)
    started = []

    def start(limits):
        started.append(Sshd(tmp_path / "small", limits=limits))
        return started[-1].start()

    yield start
    for board in started:
        board.__exit__()


def test_this_machine_and_ssh_to_it_at_once(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    code, runs, err = profile(desk, "local", "pi5", options=QUICK)
    assert code == 0, err
    for run in runs.values():
        assert_measured(run)
        # Wherever it is measured, the host decides: the control took part, and the order has verdicts.
        assert (run["control"]["target"] in rows(run), run["control"]["launches"], run["control"]["problem"]) == (
            True,
            2,
            "",
        )
        (other,) = [ranked for ranked in run["ranking"]["order"] if ranked["place"] == 2]
        assert other["verdict"] in ("faster", "slower", "same", "unclear")
        assert other["within"] > 0
    assert [run["device"]["uri"] for run in runs.values()] == ["local", "ssh://pi5"]
    names = {path.name for path in desk.made.iterdir()}
    assert {"profile-local.json", "profile-pi5.json", "profile-local.jsonl", "profile-pi5.jsonl"} <= names
    assert not [name for name in names if name.startswith(".edgeopt-work-")]
    assert {"local", "pi5"} <= {path.name for path in (desk.made / "logs").iterdir()}
    assert_left_alone(sshd)


def test_a_disk_without_room_for_the_files(desk, small):
    board = small(Limits(disk_bytes=1 << 20))
    desk.know("pi5", board, "--python", board.python)
    code, runs, err = profile(desk, "pi5", "local")
    assert code == 6, err
    message, hint = errors(runs["pi5"])["tflite-int8"]
    assert message == "ssh://pi5: storing files failed (code 1): its disk is full"
    assert hint == "free some space there: edgeopt devices clean NAME"
    assert_measured(runs["local"], INT8)
    assert_left_alone(board)


def test_a_disk_that_is_full_when_the_answers_are_written(desk, small):
    board = small(Limits(disk_bytes=16 << 20))
    desk.know("pi5", board, "--python", board.python)
    assert profile(desk, "pi5")[0] == 0
    board.run("cat /dev/zero > filled")
    code, runs, err = profile(desk, "pi5")
    assert code == 6, err
    message, hint = errors(runs["pi5"])["tflite-int8"]
    assert (message, hint) == ("ssh://pi5: its disk is full", "free some space there: edgeopt devices clean NAME")
    board.run("rm filled")
    assert profile(desk, "pi5")[0] == 0
    assert_left_alone(board)


@pytest.mark.parametrize(
    ("python", "message", "command"),
    [
        ("/nowhere/python3", "ssh://pi5: /nowhere/python3 is not there", "edgeopt devices add NAME URI --python PATH"),
        ("/usr/bin/python3", "does not have ai-edge-litert>=", "edgeopt devices prepare "),
    ],
)
def test_a_device_without_a_runtime(desk, sshd, python, message, command):
    desk.know("pi5", sshd, "--python", python)
    code, runs, err = profile(desk, "pi5", "local")
    assert code == 6 if "nowhere" in python else 4, err
    said, hint = errors(runs["pi5"])["tflite-int8"]
    assert message in said
    assert command in hint
    assert "model.tflite" not in files(sshd)
    assert_measured(runs["local"], INT8)
    assert_left_alone(sshd)


def test_a_board_whose_system_is_too_old(desk, old_board):
    desk.know("pi4", old_board, "--python", old_board.python)
    code, runs, err = profile(desk, "pi4", "local")
    assert code == 4, err
    assert statuses(runs["pi4"]) == {"tflite-int8": "unavailable"}
    message, hint = errors(runs["pi4"])["tflite-int8"]
    assert "does not load: " in message
    assert "libLiteRt.so needs GLIBC 2.34, and the system has 2.31" in message
    assert hint.startswith("Debian 12 or newer has what it needs; ")
    assert "edgeopt devices prepare " in hint
    assert "model.tflite" not in files(old_board)
    assert_measured(runs["local"], INT8)
    assert_left_alone(old_board)


def test_boards_that_let_nobody_in_beside_one_that_does(desk, sshd, relay, tmp_path):
    needs.require("sshd", "ssh", "ssh-keygen")
    with Sshd(tmp_path / "changed") as changed, Sshd(tmp_path / "locked") as locked:
        desk.know("healthy", sshd, "--python", sshd.python)
        desk.know("changed", changed, "--python", changed.python)
        changed.change_host_key()
        (locked.folder / "authorized_keys").write_text("")
        locked.stop()
        locked.start()
        desk.know("locked", locked, "--python", locked.python)
        stranger = sshd.through(relay(sshd.port).port)
        stranger.known_hosts.write_text("")
        desk.know("stranger", stranger, "--python", sshd.python)
        silent = relay(sshd.port)
        silent.stalled = True
        desk.know("silent", sshd.through(silent.port), "--python", sshd.python)
        code, runs, err = profile(desk, "stranger", "changed", "locked", "silent", "healthy")
    assert code == 6, err
    assert_measured(runs.pop("healthy"), INT8)
    said = {name: errors(run)["tflite-int8"] for name, run in runs.items()}
    assert {name: message for name, (message, _) in said.items()} == {
        "stranger": "the host key of stranger is unknown",
        "changed": "the host key of changed has changed: it is another machine, or somebody is in between",
        "locked": "locked accepts none of your keys",
        "silent": "silent does not answer",
    }
    hints = {name: hint for name, (_, hint) in said.items()}
    assert "ssh-keygen -R" in hints["changed"]
    assert "compare the fingerprint" in hints["stranger"]
    assert "ssh-copy-id locked" in hints["locked"]
    assert hints["silent"] == "is it switched on, and in this network?"
    assert_left_alone(sshd)
