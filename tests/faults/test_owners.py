"""Who may use a device and for how long: a Ctrl-C, a kill, and two who want it at the same time."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from edgeopt.pipeline.workspace import slug
from tests.faults.conftest import QUICK
from tests.standins import confined
from tests.standins.waiting import until

pytestmark = pytest.mark.slow

LONG = ("--seconds", "75")
"""Nobody waits for its end."""
ONE = ("-t", "tflite-int8")
LIMIT_S = 90
AT_ONCE_S = 8
"""How soon edgeopt ends that was told to; the other processes of this machine take their time too."""
MEASURED = ("ok", None)


@contextlib.contextmanager
def profiling(desk, *arguments, folder="demo"):
    """A profile in a process group of its own, as a shell gives one to a command; it never outlives the test."""
    with desk.edgeopt.start("profile", folder, *arguments, start_new_session=True) as running:
        try:
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def press_ctrl_c(running):
    """Interrupt as a terminal does: the whole process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGINT)


def ended_by_the_user(running):
    """Wait for the end of a run that the user has ended, and return its standard error."""
    out, err = running.communicate(timeout=AT_ONCE_S)
    assert running.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert err.endswith("error: interrupted\n")
    return err


def hears(running, text):
    """Wait until standard error has a line with a text, and return the lines up to it."""
    told = []
    for line in iter(running.stderr.readline, ""):
        told.append(line)
        if text in line:
            return told
    pytest.fail(f"it never said {text}: {''.join(told)}")


def journal(desk, device, folder="demo"):
    return desk.edgeopt.folder / folder / f"profile-{slug(device)}.jsonl"


def measures(desk, device, folder="demo"):
    """Wait until some whole rounds were measured."""
    file = journal(desk, device, folder)
    until(lambda: file.exists() and file.read_text().count('"round":') > 2, LIMIT_S)


def is_whole(desk, device):
    """Check what a run has left in its folder, and return status and error of each artifact."""
    assert list(desk.made.glob(".edgeopt-work-*")) == []
    lines = journal(desk, device).read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and json.loads(line) for line in lines)
    run = json.loads((desk.made / f"profile-{slug(device)}.json").read_text())
    assert all(result["latency"]["median_s"] > 0 for result in run["results"][1:])
    return {result["target"]: (result["status"], result["error"]) for result in run["results"][1:]}


def left_here(word):
    """Command lines of processes on this machine in which a word stands."""
    running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [command for pid in running if confined.is_alive(pid) and word in (command := confined.command(pid))]


def is_left_alone(desk, board):
    """Wait until nothing runs on a board any more, and no ssh to it here."""
    until(lambda: board.processes() == {})
    until(lambda: left_here(str(desk.edgeopt.folder / "ssh_config")) == [])


@pytest.fixture
def desk(desk):
    """A desk with the artifacts in a second folder too, for a second run at the same time."""
    shutil.copytree(desk.made, desk.edgeopt.folder / "other")
    return desk


@pytest.fixture
def board(desk, sshd):
    """A board that the user calls pi5."""
    desk.know("pi5", sshd, "--python", sshd.python)
    return sshd


def measured_again(desk, device, *arguments, folder="demo"):
    """Profile a device that must be free, and return the rows."""
    code, out, err = desk.edgeopt.run("profile", folder, "--device", device, *arguments, "--json", "-")
    assert code == 0, err
    assert "waiting" not in err
    (run,) = json.loads(out)["runs"]
    assert [(result["status"], result["error"]) for result in run["results"][1:]] == [MEASURED] * (
        len(run["results"]) - 1
    )
    return run["results"][1:], err


def test_ctrl_c_keeps_what_was_measured_and_resume_measures_the_rest(desk, board):
    with profiling(desk, "--device", "pi5", "--seconds", "1", "--json", "-") as running:
        measures(desk, "pi5")
        master = " ".join(left_here(str(desk.edgeopt.folder / "ssh_config")))
        press_ctrl_c(running)
        err = ended_by_the_user(running)
    assert "take it up again with --resume" in err
    assert is_whole(desk, "pi5") == {"tflite-int8": MEASURED, "tflite-float32": MEASURED}
    is_left_alone(desk, board)
    assert not Path(re.search(r"-M -S (\S+)/s ", master)[1]).exists()
    before = journal(desk, "pi5").read_text()
    rows, err = measured_again(desk, "pi5", "--seconds", "1", "--resume")
    assert "nothing to resume" not in err
    assert journal(desk, "pi5").read_text().startswith(before)
    assert all(row["latency"]["launches"] >= 3 for row in rows)


def test_ctrl_c_ends_a_board_and_a_phone_that_are_measured_together(desk, board, python_phone):
    phone = desk.reach(python_phone)
    with profiling(desk, "--device", "pi5", "--device", phone, *ONE, *LONG) as running:
        measures(desk, "pi5")
        measures(desk, phone)
        press_ctrl_c(running)
        ended_by_the_user(running)
    for device in ("pi5", phone):
        assert is_whole(desk, device) == {"tflite-int8": MEASURED}
    is_left_alone(desk, board)
    until(lambda: python_phone.processes() == {})
    assert left_here(f"-s {python_phone.serial} ") == []
    measured_again(desk, phone, *ONE, *QUICK)


def test_whoever_presses_ctrl_c_again_and_again_leaves_nothing_either(desk, board):
    with profiling(desk, "--device", "pi5", *ONE, *LONG) as running:
        measures(desk, "pi5")
        while running.poll() is None:
            press_ctrl_c(running)
            time.sleep(0.05)
        _, err = running.communicate()
    assert running.returncode in (130, -signal.SIGINT), err  # to a shell they are the same
    assert "Traceback" not in err
    is_left_alone(desk, board)
    assert list(desk.made.glob(".edgeopt-work-*")) == []


def test_sigterm_is_a_ctrl_c(desk, board):
    with profiling(desk, "--device", "pi5", *ONE, *LONG) as running:
        measures(desk, "pi5")
        running.terminate()
        ended_by_the_user(running)
    is_left_alone(desk, board)
    assert is_whole(desk, "pi5") == {"tflite-int8": MEASURED}


def test_ctrl_c_while_a_silent_board_is_reached(desk, sshd, relay):
    link = relay(sshd.port)
    link.stalled = True
    desk.know("pi5", sshd.through(link.port), "--python", sshd.python)
    with profiling(desk, "--device", "pi5", *ONE) as running:
        hears(running, "reaching the device")
        press_ctrl_c(running)
        ended_by_the_user(running)
    (row,) = json.loads((desk.made / "profile-pi5.json").read_text())["results"][1:]
    assert row["error"]["kind"] == "stopped"
    is_left_alone(desk, sshd)


def test_ctrl_c_while_a_board_that_was_lost_is_waited_for(desk, board):
    with profiling(desk, "--device", "pi5", *ONE, *LONG) as running:
        measures(desk, "pi5")
        board.stop()
        hears(running, "reaching it again")
        press_ctrl_c(running)
        ended_by_the_user(running)
    assert is_whole(desk, "pi5") == {"tflite-int8": MEASURED}


def test_ctrl_c_while_a_silent_phone_is_waited_for(desk, python_phone):
    phone = desk.reach(python_phone)
    python_phone.link.stalled = True
    with profiling(desk, "--device", phone, *ONE) as running:
        hears(running, "reaching the device")
        time.sleep(1)
        press_ctrl_c(running)
        ended_by_the_user(running)
    assert left_here(f"-s {python_phone.serial} ") == []


def test_what_a_killed_edgeopt_had_begun_ends_on_the_board_and_the_next_can_measure_at_once(desk, board):
    with profiling(desk, "--device", "pi5", *ONE, *LONG) as running:
        measures(desk, "pi5")
        running.kill()
        measured_again(desk, "pi5", *ONE, *QUICK, folder="other")
    is_left_alone(desk, board)
    measured_again(desk, "pi5", *ONE, *QUICK)
    assert list(desk.made.glob(".edgeopt-work-*")) == []


def test_what_a_killed_edgeopt_had_begun_ends_on_the_phone(desk, python_phone):
    phone = desk.reach(python_phone)
    with profiling(desk, "--device", phone, *ONE, *LONG) as running:
        measures(desk, phone)
        running.kill()
        until(lambda: python_phone.processes() == {})
    until(lambda: left_here(f"-s {python_phone.serial} ") == [])
    measured_again(desk, phone, *ONE, *QUICK)


def the_second_waits(desk, device, address):
    """Let two runs measure one device: the second waits, says once for whom, and both have their figures."""
    with profiling(desk, "--device", device, *ONE, "--seconds", "2", "--json", "-") as first:
        measures(desk, device)
        with profiling(desk, "--device", device, *ONE, *QUICK, "--json", "-", folder="other") as second:
            told = hears(second, "answering the evaluation feeds")
            given = journal(desk, device).read_text()
            documents = [each.communicate(timeout=LIMIT_S)[0] for each in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert journal(desk, device).read_text() == given, "the first still measured when the second had begun"
    (waiting,) = [line for line in told if "waiting" in line]
    assert waiting.startswith(f"waiting for {address}, which is in use by ")
    assert f"(process {first.pid}) since " in waiting
    for (run,) in (json.loads(document)["runs"] for document in documents):
        assert run["results"][1]["status"] == "ok"
        assert run["results"][1]["latency"]["launches"] >= 3


def test_two_share_a_board_by_turns(desk, board):
    the_second_waits(desk, "pi5", "ssh://pi5")
    is_left_alone(desk, board)


def test_two_share_a_phone_by_turns(desk, python_phone):
    phone = desk.reach(python_phone)
    the_second_waits(desk, phone, phone)
    until(lambda: python_phone.processes() == {})


def test_who_waits_can_be_interrupted_and_does_not_disturb(desk, board):
    with profiling(desk, "--device", "pi5", *ONE, *LONG) as first:
        measures(desk, "pi5")
        with profiling(desk, "--device", "pi5", *ONE, folder="other") as second:
            hears(second, "waiting for ssh://pi5")
            press_ctrl_c(second)
            ended_by_the_user(second)
        with profiling(desk, "--device", "pi5", *ONE, "--timeout", "1", folder="other") as third:
            _, err = third.communicate(timeout=LIMIT_S)
        assert third.returncode == 6, err
        assert "failed: ssh://pi5 is in use by" in err
        before = journal(desk, "pi5").stat().st_size
        until(lambda: journal(desk, "pi5").stat().st_size > before)
        press_ctrl_c(first)
        ended_by_the_user(first)
    is_left_alone(desk, board)
