"""A device behind a real ssh server: files, processes, and what goes wrong on the way."""

import json
import shlex
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from edgeopt.devices import open_device, remote_channel
from edgeopt.devices import remote as remote_module
from edgeopt.devices.book import CONFIG_VARIABLE, make_entry, save
from edgeopt.devices.channel import ChannelClosed
from edgeopt.devices.remote import RemoteDevice
from edgeopt.devices.ssh import COMMAND_VARIABLE, SshTransport
from edgeopt.errors import DeviceError, LinkLostError
from tests.devices.any_link import AnyLink

FORKED = """
import json, os, sys
for line in sys.stdin:
    parent = os.getppid()
    if "kill" in line:
        os.kill(parent, 9)
        break
    found = {"parent": parent, "imported": "decimal" in sys.modules, "argv": sys.argv}
    command = open(f"/proc/{parent}/cmdline").read()
    print(json.dumps({**found, "command": command, "threads": os.environ["OMP_NUM_THREADS"]}), flush=True)
"""


@pytest.fixture
def board(sshd, monkeypatch):
    """A real ssh server that the user's ssh knows."""
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(sshd.config)]))
    return sshd


@pytest.fixture
def connected(board):
    """A device behind ssh, and its server."""
    device = RemoteDevice(SshTransport(board.alias), python=board.python)
    device.connect()
    yield device
    device.close()


@pytest.fixture
def standin(sshd):
    return sshd


class TestSsh(AnyLink):
    """Over ssh."""


@pytest.fixture
def warm(connected, monkeypatch):
    """A device on which a parent imports `decimal`, which takes no second; every process is forked from it."""
    monkeypatch.setattr(remote_module, "SLOW", ("decimal",))
    monkeypatch.setattr(connected, "open", partial(connected.open, requires=("tensorflow",)))
    return connected


class TestForked(AnyLink):
    """Over ssh, in processes that are forked there."""

    @pytest.fixture
    def connected(self, warm):
        return warm


def test_processes_of_a_runner_that_takes_seconds_to_import_are_forked_from_one_that_has_imported_it(warm, tmp_path):
    (script := tmp_path / "script.py").write_text(FORKED)
    facts = []
    for _ in range(2):
        with warm.open(script, log=tmp_path / "log") as channel:
            facts.append(channel.ask({}, 30))
    assert facts[0]["parent"] == facts[1]["parent"]
    assert facts[0]["imported"]
    assert facts[1]["imported"]
    assert facts[0]["argv"] == [warm.push(script)]
    assert facts[0]["threads"] == "1"
    assert "forking.py" in facts[0]["command"]


def test_with_several_threads_each_process_imports_for_itself(warm, tmp_path):
    (script := tmp_path / "script.py").write_text(FORKED)
    with warm.open(script, log=tmp_path / "log", threads=2) as channel:
        assert not channel.ask({}, 30)["imported"]


def test_where_no_parent_can_be_each_process_imports_for_itself(warm, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_module, "SLOW", ("no_such_module",))
    (script := tmp_path / "script.py").write_text(FORKED)
    with warm.open(script, log=tmp_path / "log") as channel:
        assert not channel.ask({}, 30)["imported"]


def test_a_limit_on_memory_is_for_each_forked_process_and_not_for_their_parent(warm, tmp_path, monkeypatch):
    """All of them are the parent's children, and each would count the libraries that they share."""
    limits, start = {}, RemoteDevice._start

    def record(device, run, log, threads, memory_limit_bytes, **options):
        limits[Path(run[0]).name] = memory_limit_bytes
        return start(device, run, log, threads, memory_limit_bytes, **options)

    monkeypatch.setattr(RemoteDevice, "_start", record)
    (script := tmp_path / "script.py").write_text(FORKED)
    with warm.open(script, log=tmp_path / "log", memory_limit_bytes=1 << 30) as channel:
        assert channel.ask({}, 30)["imported"]
        time.sleep(1.0)  # the guards look every 0.2 s
        assert channel.ask({}, 30)["imported"], "no limit is not a limit of nothing"
    assert (limits["script.py"], limits["forking.py"]) == (1 << 30, 0)


@pytest.mark.parametrize(("name", "value"), [("KERAS_BACKEND", "jax"), ("TF_USE_LEGACY_KERAS", "1")])
def test_where_variables_select_another_keras_each_process_imports_for_itself(warm, tmp_path, monkeypatch, name, value):
    monkeypatch.setattr(remote_module, "thread_environment", lambda _threads: {"OMP_NUM_THREADS": "1", name: value})
    (script := tmp_path / "script.py").write_text(FORKED)
    with warm.open(script, log=tmp_path / "log") as channel:
        assert not channel.ask({}, 30)["imported"]


def test_after_the_death_of_the_parent_each_process_imports_for_itself(warm, tmp_path):
    (script := tmp_path / "script.py").write_text(FORKED)
    with warm.open(script, log=tmp_path / "log") as channel:
        assert channel.ask({}, 30)["imported"]
        with pytest.raises(ChannelClosed):
            channel.ask({"kill": True}, 30)
    with warm.open(script, log=tmp_path / "log") as channel:
        assert not channel.ask({}, 30)["imported"]


def test_a_cut_link_is_said_to_be_one_and_the_device_comes_back(connected, script, tmp_path, sshd):
    with connected.open(script, log=tmp_path / "log") as channel:
        channel.ask({}, 30)
        sshd.kill_sessions()
        with pytest.raises(LinkLostError, match="the link was lost"):
            channel.ask({}, 30)
    with pytest.raises(LinkLostError):
        connected.push(tmp_path)
    connected.connect()
    with connected.open(script, log=tmp_path / "log") as channel:
        assert channel.ask({"again": 1}, 30)["said"] == {"again": 1}


def test_a_process_whose_host_is_silent_ends_itself(connected, script, tmp_path, sshd, monkeypatch):
    monkeypatch.setattr(remote_module, "SILENCE_S", 4.0)
    monkeypatch.setattr(remote_channel, "BEAT_S", 100.0)
    with connected.open(script, log=tmp_path / "log") as channel:
        channel.ask({"spawn": True}, 30)
        begin = time.monotonic()
        with pytest.raises(ChannelClosed, match="the host is gone"):
            channel.ask({"hang": True}, 30)
        assert time.monotonic() - begin < 20


def test_cores(board, script, tmp_path):
    device = RemoteDevice(SshTransport(board.alias), python=board.python, cores=[1])
    device.connect()
    with device.open(script, log=tmp_path / "log") as channel:
        assert channel.ask({}, 30)["cores"] == [1]
    facts = device.facts()
    assert (facts.cores, facts.details["cores_used"]) == (1, "1")
    device.close()


def test_an_unknown_and_a_changed_host_key_are_refused_with_what_to_do(board):
    known = board.known_hosts.read_text()
    board.known_hosts.write_text("")
    with pytest.raises(DeviceError, match="the host key of board is unknown") as unknown:
        SshTransport(board.alias).connect()
    assert "run ssh -F" in unknown.value.hint
    board.known_hosts.write_text(known)
    board.change_host_key()
    with pytest.raises(DeviceError, match="host key of board has changed") as changed:
        SshTransport(board.alias).connect()
    assert "ssh-keygen -R" in changed.value.hint


def test_the_command_that_copies_a_key_goes_where_ssh_went(board):
    transport = SshTransport("board.example", user="pi", port=2222, key=Path("/keys/a b"), jump="gate")
    said = transport.why("Permission denied (publickey).")
    assert said.message == "board.example accepts none of your keys"
    assert "ssh-copy-id -p 2222 -i '/keys/a b' -o ProxyJump=gate pi@board.example, or name it" in said.hint


def test_an_agent_that_something_ended_is_started_again_and_the_claim_with_it(connected, board, tmp_path):
    connected.claim(lambda text: None, 5)
    holder = json.loads(board.run(f"cat {connected.folder}/lock").stdout)["pid"]
    board.run(f"kill -9 {holder}")
    assert connected.health().cores_allowed > 0
    with closing(RemoteDevice(SshTransport(board.alias), python=board.python)) as other:
        other.connect()
        with pytest.raises(DeviceError, match="is in use by "):
            other.claim(lambda text: None, 0)
        board.run(f"kill -9 {json.loads(board.run(f'cat {connected.folder}/lock').stdout)['pid']}")
        other.claim(lambda text: None, 5)
        with pytest.raises(DeviceError, match=r"was claimed by .* meanwhile"):
            connected.health()


def test_files_that_were_moved_here_and_lost_there_are_no_hindrance(connected, board, tmp_path):
    made, kept = tmp_path / "made", tmp_path / "kept"
    for folder in (made, kept):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
        connected.push(folder)
    there = connected.push(made.rename(tmp_path / "published"))
    board.run("rm -rf .cache/edgeopt")
    connected.connect()
    assert board.run(f"cat {there}/file").stdout == "made"
    assert board.run(f"cat {connected.push(kept)}/file").stdout == "kept"


def test_no_server_and_no_such_host(board):
    board.stop()
    with pytest.raises(DeviceError, match="runs no ssh server"):
        SshTransport(board.alias).connect()
    with pytest.raises(DeviceError, match="no host called"):
        SshTransport("no-such-host.invalid").connect()


@pytest.mark.parametrize("host", ["-oProxyCommand=true", "a b", "", "a;b"])
def test_what_is_no_host_is_never_given_to_ssh(host):
    with pytest.raises(DeviceError, match="is no address for ssh"):
        SshTransport(host)


def test_a_name_of_the_book_brings_its_settings(board, script, tmp_path, monkeypatch):
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config"))
    said = {"uri": f"ssh://{board.alias}", "key": str(board.key), "python": board.python, "cores": "1"}
    save(make_entry("pi5", {**said, "workdir": f"{board.workdir}/a 'b' $(touch x)", "jump": board.alias}))
    with closing(open_device("pi5")) as device, device.open(script, log=tmp_path / "log") as channel:
        assert channel.ask({}, 30)["cores"] == [1]
        assert device.push(script).startswith(f"{board.workdir}/a 'b' $(touch x)/files/")


def test_cores_that_are_not_there(board, script, tmp_path):
    device = RemoteDevice(SshTransport(board.alias), python=board.python, cores=[0, 1000])
    with closing(device):
        device.connect()
        with (
            device.open(script, log=tmp_path / "log") as channel,
            pytest.raises(ChannelClosed, match="cannot use the cores 1000: there are 0"),
        ):
            channel.ask({}, 30)
