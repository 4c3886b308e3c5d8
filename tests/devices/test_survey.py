"""Several devices asked at once: one that is there, one that is not, one that never answers."""

import socket
import subprocess
import threading
from contextlib import closing

from edgeopt.devices import open_device
from edgeopt.devices.book import LOCAL, Entry
from edgeopt.devices.survey import inspect, look
from edgeopt.errors import BadInputError
from tests.standins.waiting import until


def test_each_device_says_what_it_is(known, sshd):
    board = Entry("pi5", uri=f"ssh://{known(sshd).alias}", python=sshd.python, cores="1")
    own, pi5 = look([Entry(LOCAL, uri=LOCAL), board])
    assert [one.entry.name for one in (own, pi5) if one.is_reachable and one.error is None] == [LOCAL, "pi5"]
    assert own.facts.cores >= pi5.facts.cores == 1
    assert own.facts.runtimes == pi5.facts.runtimes
    assert "openvino" in pi5.facts.runtimes


def test_one_that_never_answers_and_one_that_cannot_be_used_hold_up_none(tmp_path):
    broken = Entry("broken", problem=BadInputError("it is broken"))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        seen = []
        silent = Entry("mute", uri=f"ssh://127.0.0.1:{port}")
        looking = threading.Thread(target=lambda: seen.extend(look([silent, broken], limit_s=1.5)))
        looking.start()
        until(lambda: connections(port))
        looking.join()
        until(lambda: not connections(port))
    assert [one.error.message for one in seen] == ["it gave no answer within 1.5 s", "it is broken"]
    assert not any(one.is_reachable for one in seen)


def connections(port):
    """The clients of this machine that speak to a port."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if line.startswith("ssh ") and f"-p {port} " in line]


def test_a_device_that_can_be_reached_and_has_no_python(known, sshd):
    (seen,) = look([Entry("pi5", uri=f"ssh://{known(sshd).alias}", python="/nowhere/python3")])
    assert seen.is_reachable
    assert seen.error.message == "ssh://board: /nowhere/python3 is not there"


def test_cores_that_a_device_does_not_have(known, sshd):
    (seen,) = look([Entry("pi5", uri=f"ssh://{known(sshd).alias}", python=sshd.python, cores="900")])
    assert seen.error.message.startswith("cannot use the cores 900: there are 0, ")


def test_what_one_device_has(known, sshd, monkeypatch):
    known(sshd)
    with closing(open_device(f"ssh://{sshd.alias}")) as device:
        device._python = sshd.python
        found = inspect(device, "pi5")
    assert found.provided["executable"] == sshd.python
    assert {fit.backend: fit.misfit for fit in found.fits} == dict.fromkeys(
        ("onnxruntime", "openvino", "saved-without-optimizer", "tf-gpu", "tflite")
    )
