"""Who may use a device and for how long: a Ctrl-C, a kill, and two who want it at the same time."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

from tests.faults.conftest import QUICK
from tests.standins import confined
from tests.standins.waiting import until

LONG = ("--seconds", "20")
"""Nobody waits for its end."""
LIMIT_S = 90
ENDING_S = 15
"""How long edgeopt may take to end once it was told to."""
TFLITE = ("-t", "tflite-int8")


@contextlib.contextmanager
def profiling(desk, *arguments, folder="demo"):
    """A profile in a process group of its own, as a shell gives one to a command; it never outlives the test."""
    with desk.edgeopt.start("profile", folder, *arguments, start_new_session=True) as running:
        try:
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def press(running, number=signal.SIGINT):
    """Send a signal as a terminal does for a Ctrl-C: to the whole process group."""
    os.killpg(running.pid, number)


def journal(desk, name, folder="demo"):
    return desk.edgeopt.folder / folder / f"profile-{name}.jsonl"


def rounds(desk, name, folder="demo"):
    """How many whole rounds were measured on a device so far."""
    file = journal(desk, name, folder)
    return file.read_text().count('"round":') if file.exists() else 0


def left_here(word):
    """Command lines of processes on this machine that have a word in them."""
    running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    commands = [confined.command(pid) for pid in running if pid != os.getpid() and confined.is_alive(pid)]
    return [command for command in commands if word in command]


def ended_by_the_user(running):
    """Standard error of a run that must end as one that the user ended."""
    out, err = running.communicate(timeout=ENDING_S)
    assert running.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert err.rstrip().endswith("error: interrupted")
    return err


def nothing_half_written(desk, device, address):
    """The statuses of the rows in the document of a run that was ended; document and journal are whole."""
    assert not list(desk.made.glob(".edgeopt-work-*"))
    run = json.loads((desk.made / f"profile-{device}.json").read_text())
    lines = journal(desk, address).read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and json.loads(line) for line in lines)
    return {result["target"]: (result["status"], result["error"]) for result in run["results"][1:]}


def test_ctrl_c_keeps_what_was_measured_and_leaves_nothing_running(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    how = ("--device", "pi5", "--seconds", "1")
    with profiling(desk, *how, "--json", "-") as running:
        until(lambda: rounds(desk, "ssh-pi5") > 2, LIMIT_S)
        (private,) = set(re.findall(r"/tmp/edgeopt-\w+", " ".join(left_here(str(desk.edgeopt.folder / "ssh_config")))))
        press(running)
        err = ended_by_the_user(running)
    assert "take it up again with --resume" in err
    assert nothing_half_written(desk, "pi5", "ssh-pi5") == {"tflite-int8": ("ok", None), "tflite-float32": ("ok", None)}
    until(lambda: sshd.processes() == {})
    assert left_here(str(desk.edgeopt.folder / "ssh_config")) == []
    assert not Path(private).exists()
    before = journal(desk, "ssh-pi5").read_text()
    code, out, err = desk.edgeopt.run("profile", "demo", *how, "--resume", "--json", "-")
    assert code == 0, err
    assert "waiting" not in err
    assert "nothing to resume" not in err
    assert journal(desk, "ssh-pi5").read_text().startswith(before)
    (run,) = json.loads(out)["runs"]
    assert [result["latency"]["launches"] >= 3 for result in run["results"][1:]] == [True, True]


def test_ctrl_c_twice(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with profiling(desk, "--device", "pi5", *TFLITE, *LONG) as running:
        until(lambda: rounds(desk, "ssh-pi5") > 2, LIMIT_S)
        press(running)
        press(running)
        out, err = running.communicate(timeout=ENDING_S)
    print(err)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    until(lambda: sshd.processes() == {})
    assert left_here(str(desk.edgeopt.folder / "ssh_config")) == []
    assert not list(desk.made.glob(".edgeopt-work-*"))


def test_sigterm(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with profiling(desk, "--device", "pi5", *TFLITE, *LONG) as running:
        until(lambda: rounds(desk, "ssh-pi5") > 2, LIMIT_S)
        running.terminate()
        ended_by_the_user(running)
    until(lambda: sshd.processes() == {})
    assert left_here(str(desk.edgeopt.folder / "ssh_config")) == []


def test_killed(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with profiling(desk, "--device", "pi5", *TFLITE, *LONG) as running:
        until(lambda: rounds(desk, "ssh-pi5") > 2, LIMIT_S)
        running.kill()
        running.communicate(timeout=ENDING_S)
    code, out, err = desk.edgeopt.run("profile", "demo", *TFLITE, *QUICK, "--device", "pi5")
    assert code == 0, err
    until(lambda: sshd.processes() == {})
    assert left_here(str(desk.edgeopt.folder / "ssh_config")) == []
    assert not list(desk.made.glob(".edgeopt-work-*"))


def test_two(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    shutil.copytree(desk.made, desk.edgeopt.folder / "other")
    with profiling(desk, "--device", "pi5", "--seconds", "4") as running:
        until(lambda: rounds(desk, "ssh-pi5") > 2, LIMIT_S)
        code, out, err = desk.edgeopt.run("profile", "other", *TFLITE, *QUICK, "--device", "pi5")
        print(err)
        _, first = running.communicate(timeout=ENDING_S)
    assert (code, running.returncode) == (0, 0)


def test_ctrl_c_while_a_silent_board_is_reached(desk, sshd, relay):
    link = relay(sshd.port)
    desk.know("pi5", sshd.through(link.port), "--python", sshd.python)
    link.stalled = True
    with profiling(desk, "--device", "pi5", *TFLITE, *QUICK) as running:
        told = iter(running.stderr.readline, "")
        assert any("reaching the device" in line for line in told)
        time.sleep(0.5)
        press(running)
        begin = time.monotonic()
        ended_by_the_user(running)
    assert time.monotonic() - begin < 3


def test_ctrl_c_while_a_lost_board_is_waited_for(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with profiling(desk, "--device", "pi5", *TFLITE, *LONG) as running:
        until(lambda: rounds(desk, "ssh-pi5") > 2, LIMIT_S)
        sshd.stop()
        told = iter(running.stderr.readline, "")
        assert any("reaching it again" in line for line in told)
        time.sleep(0.5)
        press(running)
        begin = time.monotonic()
        ended_by_the_user(running)
    assert time.monotonic() - begin < 3


def test_ctrl_c_while_another_is_waited_for(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    shutil.copytree(desk.made, desk.edgeopt.folder / "other")
    with profiling(desk, "--device", "pi5", *LONG) as first:
        until(lambda: rounds(desk, "ssh-pi5") > 2, LIMIT_S)
        with profiling(desk, "--device", "pi5", *LONG, folder="other") as second:
            told = iter(second.stderr.readline, "")
            assert any("waiting" in line for line in told)
            press(second)
            begin = time.monotonic()
            ended_by_the_user(second)
    assert time.monotonic() - begin < 3
