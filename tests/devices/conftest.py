"""Boards that the user's ssh knows, and a script for any device."""

import shlex

import pytest

from edgeopt.devices.ssh import COMMAND_VARIABLE

pytest.register_assert_rewrite("tests.devices.any_link")

ECHO = """
import json, os, subprocess, sys, threading, time
for line in sys.stdin:
    message = json.loads(line)
    if message.get("spawn"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    if message.get("die"):
        os.kill(os.getpid(), message["die"])
    if message.get("die_later"):
        threading.Timer(0.2, os.kill, (os.getpid(), message["die_later"])).start()
    if message.get("hang"):
        time.sleep(300)
    if message.get("write"):
        os.makedirs(message["write"])
        open(message["write"] + "/answer", "w").write("42")
    print(json.dumps({"said": message, "cores": sorted(os.sched_getaffinity(0))}), flush=True)
"""


@pytest.fixture
def script(tmp_path):
    """A script that answers, with a name that a shell would misread."""
    path = tmp_path / "a script's $(name).py"
    path.write_text(ECHO)
    return path


@pytest.fixture
def known(monkeypatch):
    """A function that lets the user's ssh know a stand-in, and returns it."""

    def introduce(board):
        monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(board.config)]))
        return board

    return introduce
