"""Names, answers and runners of strangers: whatever they say, nothing is executed, forged or lost."""

import json
import re
import shutil

import pytest

from edgeopt.source.choice import DEMO
from tests.faults.conftest import QUICK
from tests.standins import needs
from tests.standins.limits import Limits
from tests.standins.sshd import Sshd
from tests.standins.waiting import until

pytestmark = pytest.mark.slow

ONE = ("-t", "tflite-int8")
HOSTILE = "a 'b' \"c\" $(touch canary) `touch canary` ;touch canary\n\x1b[31md\x1b]0;e\x07 \u202e-f"
"""A name that a shell, a terminal or a line of text may trip over."""
SHELLS = "a 'b' \"c\" $(touch canary) `touch canary` ;touch canary& *"
"""As much of it as stands in one line."""
UNSAFE = re.compile("[^\\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")

BACKENDS = """
    from pathlib import Path
    from edgeopt.api import Artifact, Backend, hookimpl

    class Stranger(Backend):
        summary = "does what its name says, once it is timed"
        runner = Path(__file__).with_name("stranger_runner.py")

        def export(self, request):
            main = request.out_dir / "model.txt"
            main.write_text(self.name)
            return Artifact(main, (main,))

    @hookimpl
    def edgeopt_backends():
        return [type(name, (Stranger,), {"name": name, "__module__": __name__}) for name in NAMES]
"""
RUNNER = """
import os
import time

import numpy as np


class Runner:
    untimed = None

    def __init__(self, name):
        self.name, self.invoked = name, 0

    def feed(self, inputs):
        self.image = np.asarray(inputs["image"])

    def invoke(self):
        self.invoked += 1
        if self.name == "chatters":
            print("\\x1b[31mforged", flush=True)
        elif "/.cache/edgeopt/" in os.path.abspath(__file__):
            getattr(self, self.name, time.sleep)(0.001)
        time.sleep(0.001)

    def hangs(self, _):
        time.sleep(3600)

    def quits(self, _):
        os._exit(0)

    def babbles(self, _):
        tell(b"\\x1b[31m\\xff what is this\\n")

    def forges(self, _):
        tell(b'{"ended": 0, "because": "\\\\u001b[31mforged"}\\n')

    def devours(self, _):
        self.taken = getattr(self, "taken", [])
        self.taken.append(b"x" * 50_000_000)

    def lies(self, _):
        tell(b'{"samples_ns": "many", "count": [], "first_s": "\\\\u001b[31m"}\\n')

    def floods(self, _):
        while True:
            tell(b"x" * 1_000_000)

    def outputs(self):
        return {"probabilities": self.image.reshape(-1)[400:410].astype(np.float32)[None]}

    def facts(self):
        return {"accelerator": "\\x1b[31m$(touch canary)"} if self.name == "chatters" else {}


def tell(said):
    for number in range(3, 10):  # one of them is the way to the host
        try:
            os.write(number, said)
        except OSError:
            pass


def load(path, threads):
    with open(path) as file:
        return Runner(file.read())
"""
KINDS = ("babbles", "chatters", "floods", "forges", "hangs", "lies", "quits")
NAMES = (*KINDS, "devours")


def shows_nothing_unsafe(*texts):
    """Check that a terminal that is shown these obeys none of it."""
    for text in texts:
        assert UNSAFE.search(text) is None, text
        assert "Traceback" not in text
        assert "bug in edgeopt" not in text


def nothing_was_executed(desk):
    """The folder holds the user's files and the home folders of the boards."""
    assert list(desk.edgeopt.folder.rglob("canary")) == []


@pytest.fixture
def board(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    return sshd


@pytest.fixture
def strangers(desk):
    """A desk with a plugin whose runners misbehave on a device, each as it is called."""
    desk.edgeopt.install("edgeopt-stranger", BACKENDS.replace("NAMES", repr(NAMES)), version="6.6")
    (desk.edgeopt.folder / "site-packages" / "stranger_runner.py").write_text(RUNNER)
    (desk.edgeopt.folder / "targets").mkdir()
    for name in NAMES:
        (desk.edgeopt.folder / "targets" / f"{name}.toml").write_text(f'backend = "{name}"\n')
    return desk


def test_whatever_a_runner_does_on_a_board_is_its_own_row(strangers, board):
    model = shutil.copy(DEMO, strangers.edgeopt.folder / f"{HOSTILE}.keras")
    targets = ("-t", ",".join((*KINDS, "tflite-int8")), "--data", DEMO.with_name("evaluation.npz"))
    code, out, err = strangers.edgeopt.run(
        "export", model, *targets, "--device", "pi5", "--timeout", "25", *QUICK, "--json", "-"
    )
    until(lambda: board.processes() == {})
    shows_nothing_unsafe(err)
    nothing_was_executed(strangers)
    rows = {row["target"]: row for row in json.loads(out)["results"]}
    assert {rows[name]["plugin"] for name in KINDS} == {"edgeopt-stranger 6.6"}
    errors = {name: row["error"] and (row["error"]["kind"], row["error"]["message"]) for name, row in rows.items()}
    no_answer = "sent something that is no answer: "
    assert errors == {
        "source": None,
        "babbles": ("device", f"{no_answer}'\ufffd what is this'"),
        "chatters": None,
        "floods": ("device", f"{no_answer}'{'x' * 80}'"),
        "forges": ("device", "forged"),
        "hangs": ("device", "gave no answer within 25 s and was ended"),
        "lies": ("device", "says that it has answered the feeds, and has not"),
        "quits": ("device", "ended with exit code 0"),
        "tflite-int8": None,
    }
    assert all(rows[name]["latency"]["median_s"] > 0 for name in ("source", "chatters", "tflite-int8"))
    assert code == 6


def test_a_runner_that_takes_all_the_memory_of_a_board_is_killed_and_the_others_stay(strangers, tmp_path):
    needs.require("sshd", "ssh", "ssh-keygen", root=True)
    model = (DEMO, "--data", DEMO.with_name("evaluation.npz"))
    with Limits(memory_bytes=600_000_000) as limits, Sshd(tmp_path / "small", limits=limits) as board:
        strangers.know("pi5", board, "--python", board.python)
        code, out, err = strangers.edgeopt.run(
            "export", *model, "-t", "devours,tflite-int8", "--device", "pi5", *QUICK, "--json", "-"
        )
        until(lambda: board.processes() == {})
        assert limits.memory_kills() >= 1
    rows = {row["target"]: row for row in json.loads(out)["results"]}
    killed = "was killed by SIGKILL, by the system if memory ran out, else by somebody else"
    assert (rows["devours"]["error"]["kind"], rows["devours"]["error"]["message"]) == ("device", killed)
    assert rows["tflite-int8"]["status"] == "ok"
    assert rows["tflite-int8"]["latency"]["launches"] >= 3
    assert code == 6, err


LIAR = """#!{python}
import json, os, subprocess, sys

REAL, HOSTILE = {python!r}, {hostile!r}


def spoilt(value):
    if isinstance(value, dict):
        return {{(key + HOSTILE if deep else key): spoilt(item) for deep, (key, item) in enumerate(value.items())}}
    if isinstance(value, list):
        return [spoilt(item) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


if not any("agent.py" in argument for argument in sys.argv):
    os.execv(REAL, [REAL, *sys.argv[1:]])
wanted = json.loads(sys.argv[2])
wanted["argv"][0] = REAL
agent = subprocess.Popen([REAL, sys.argv[1], json.dumps(wanted)], stdin=0, stdout=subprocess.PIPE, text=True)
for line in agent.stdout:
    said = json.loads(line)
    for key in {{"facts", "health"}} & set(said):
        said[key] = {{name: spoilt(value) for name, value in said[key].items()}}
    print(json.dumps(said), flush=True)
"""


def test_a_board_that_calls_itself_something_hostile(desk, sshd):
    liar = sshd.path(f"{sshd.workdir}/python3")
    liar.write_text(LIAR.format(python=sshd.python, hostile=HOSTILE))
    liar.chmod(0o755)
    desk.know("pi5", sshd, "--python", f"{sshd.workdir}/python3")
    code, out, err = desk.edgeopt.run("profile", "demo", "--device", "pi5", *ONE, *QUICK)
    assert code == 0, err
    shows_nothing_unsafe(out, err)
    device = json.loads((desk.made / "profile-pi5.json").read_text())["device"]
    assert "$(touch canary)" in device["cpu"]
    assert "$(touch canary)" in device["os"]
    code, out, err = desk.edgeopt.run("devices")
    assert code == 0, err
    shows_nothing_unsafe(out, err)
    nothing_was_executed(desk)
    until(lambda: sshd.processes() == {})


NOISY = "printf '\\033[31mWelcome to {\"ended\": 0}\\n$(touch canary)\\n'; printf 'mail for you\\033]0;x\\007\\n' >&2\n"


def test_a_board_that_greets_everybody(desk, board):
    rc = board.path(f"{board.workdir}/.ssh/rc")
    rc.parent.mkdir(exist_ok=True)
    rc.write_text(NOISY)
    assert "Welcome" in board.run("true").stdout
    code, out, err = desk.edgeopt.run("profile", "demo", "--device", "pi5", *ONE, *QUICK)
    assert code == 0, err
    shows_nothing_unsafe(out, err)
    nothing_was_executed(desk)
    until(lambda: board.processes() == {})


def test_a_python_that_says_something_of_its_own(desk, sshd):
    wrapper = sshd.path(f"{sshd.workdir}/python3")
    wrapper.write_text(f"#!/bin/sh\nprintf '\\033[31mhello\\n'; exec {sshd.python} \"$@\"\n")
    wrapper.chmod(0o755)
    desk.know("pi5", sshd, "--python", f"{sshd.workdir}/python3")
    code, out, err = desk.edgeopt.run("profile", "demo", "--device", "pi5", *ONE, *QUICK)
    assert code == 6, err
    assert f"failed: ssh://pi5: {sshd.workdir}/python3 does not tell its version, but 'hello 3 11'" in err
    shows_nothing_unsafe(out, err)
    until(lambda: sshd.processes() == {})


def test_folders_with_hostile_names_here_and_there(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python, "--workdir", f"{sshd.workdir}/{SHELLS}")
    folder = desk.made.rename(desk.edgeopt.folder / HOSTILE)
    (folder / "tflite-int8").rename(folder / HOSTILE)
    code, out, err = desk.edgeopt.run("profile", folder / HOSTILE, "--device", "pi5", *QUICK)
    assert code == 0, err
    shows_nothing_unsafe(out, err)
    (row,) = json.loads((folder / "profile-pi5.json").read_text())["results"][1:]
    assert (row["target"], row["status"]) == (HOSTILE, "ok")
    assert sshd.path(f"{sshd.workdir}/{SHELLS}/files").is_dir()
    nothing_was_executed(desk)
    until(lambda: sshd.processes() == {})


def test_a_work_folder_with_a_newline_is_refused(desk):
    code, out, err = desk.edgeopt.run("devices", "add", "pi5", "ssh://pi5", "--workdir", f"/home/pi/{HOSTILE}")
    assert code == 2
    assert err.startswith("error: device 'pi5': workdir must be a text in one line\n")
    shows_nothing_unsafe(out, err)
