"""This machine as a device."""

import sys
from contextlib import closing

import pytest

from edgeopt.devices import local, open_device
from edgeopt.devices.base import thread_environment
from edgeopt.devices.channel import ChannelClosed
from edgeopt.errors import DeviceError, UsageError

ECHO = """
import json, os, sys
for line in sys.stdin:
    found = {name: os.environ.get(name) for name in json.loads(line)["names"]}
    print(json.dumps({"python": sys.executable, **found}), flush=True)
"""


@pytest.fixture
def device():
    device = open_device("local")
    yield device
    device.close()


def test_an_address_that_no_device_has():
    with pytest.raises(UsageError, match="no device is called 'toaster'") as caught:
        open_device("toaster")
    assert caught.value.hint == "known: local; add one: edgeopt devices add NAME ssh://user@host"


def test_a_script_runs_with_this_python_and_pinned_threads(device, tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    expected = dict(thread_environment(3))
    with device.open(tmp_path / "echo.py", log=tmp_path / "log", threads=3) as channel:
        answer = channel.ask({"names": list(expected)}, 10)
    assert answer.pop("python") == sys.executable
    assert answer == expected
    assert expected["OMP_NUM_THREADS"] == expected["TF_NUM_INTRAOP_THREADS"] == "3"


def test_nobody_takes_all_the_memory_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "available_bytes", lambda: 100_000_000)
    monkeypatch.setattr(local, "LEAST_LIMIT_BYTES", 50_000_000)
    (tmp_path / "greedy.py").write_text("import time\nkept = b'x' * 200_000_000\ntime.sleep(60)\n")
    with (
        closing(open_device("local")) as device,
        device.open(tmp_path / "greedy.py", log=tmp_path / "log") as channel,
        pytest.raises(ChannelClosed, match="used more memory than the limit of 90 MB"),
    ):
        channel.ask({}, 30)


def test_closing_the_device_ends_what_runs_on_it(device, tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    channel = device.open(tmp_path / "echo.py", log=tmp_path / "log")
    device.close()
    with pytest.raises(ChannelClosed):
        channel.ask({"names": []}, 10)


def test_push_and_pull(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("text")
    remote = device.push((tmp_path / "folder").relative_to(tmp_path))
    assert remote == str(tmp_path / "folder")
    device.pull(remote, tmp_path / "folder")
    device.pull(remote, tmp_path / "copy")
    with device.place(tmp_path / "folder") as place:
        assert place == str(tmp_path / "folder")
    assert (tmp_path / "folder").is_dir()
    assert (tmp_path / "copy" / "file").read_text() == "text"
    with pytest.raises(DeviceError, match="missing does not exist"):
        device.push(tmp_path / "missing")


def test_facts_and_health_are_of_this_machine(device):
    assert device.facts().uri == device.uri == "local"
    assert device.health().cores_allowed == device.facts().cores
