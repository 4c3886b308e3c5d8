"""A phone behind the real `adb` and AOSP's adbd: files, processes, and what goes wrong on the way."""

import posixpath
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeopt.devices import adb as adb_module
from edgeopt.devices import open_device, remote_channel
from edgeopt.devices import remote as remote_module
from edgeopt.devices.adb import COMMAND_VARIABLE, AdbTransport
from edgeopt.devices.bare import TOO_LONG
from edgeopt.devices.link import Link
from edgeopt.devices.remote import RemoteDevice
from edgeopt.errors import DeviceError, LinkLostError
from tests.devices.any_link import AnyLink
from tests.standins import needs, rootfs
from tests.standins.adbd import Phone
from tests.standins.limits import Limits
from tests.standins.roots import OtherRoot
from tests.standins.waiting import until

TOYBOX = "/data/local/tmp/toybox"
STORE_TOOLS = ("cat", "cut", "ls", "mkdir", "mv", "rm", "sha256sum", "tar")
CLAIM_TOOLS = ("cat", "date", "flock", "grep", "head", "sed", "sleep", "timeout")

HOST = """
import sys
from pathlib import Path
from edgeopt.devices import open_device
uri, script, log = sys.argv[1:]
device = open_device(uri)
device.claim(print, 1)
channel = device.open(Path(script), log=Path(log))
channel.ask({"spawn": True}, 30)
Path(log).with_name("hangs").write_text("#!/bin/sh\\nsleep 77 & sleep 77\\n")
print("ready", flush=True)
device.run([device.push(Path(log).with_name("hangs"))], "running it", 300)
"""


@pytest.fixture(autouse=True)
def own_server(adb_server, monkeypatch):
    """Every adb of a test talks to the test's own server."""
    monkeypatch.setenv(COMMAND_VARIABLE, f"adb -P {adb_server.port}")
    return adb_server


@pytest.fixture
def quick(monkeypatch):
    """A link that is given up early, so that a test need not wait long."""
    monkeypatch.setattr(adb_module, "ALIVE_S", 0.2)
    monkeypatch.setattr(adb_module, "SILENCE_S", 4.0)
    monkeypatch.setattr(adb_module, "CONNECT_S", 6.0)
    monkeypatch.setattr(remote_channel, "BEAT_S", 0.3)


@pytest.fixture
def connected(quick, python_phone):
    """A phone with Python, as edgeopt reaches it."""
    with_python = open_device(f"adb://{python_phone.serial}")
    yield with_python
    with_python.close()


@pytest.fixture
def standin(python_phone):
    return python_phone


class TestAdb(AnyLink):
    """Over adb, with Python on the phone."""


def test_facts_and_health_of_a_phone_with_python(connected):
    facts, health = connected.facts(), connected.health()
    assert facts.uri.startswith("adb://127.0.0.1:")
    assert (facts.details["board"], facts.os.split(",")[0]) == ("Edgeopt Stand-in", "Android 14")
    assert {"numpy", "ai-edge-litert"} <= set(facts.runtimes)
    assert (health.battery_percent, health.charging) == (87, True)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_on_a_phone_when_its_host_ends(connected, script, tmp_path, python_phone, ending):
    with subprocess.Popen(
        [sys.executable, "-c", HOST, connected.uri, script, tmp_path / "log"], stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout.readline() == "ready\n"
        until(lambda: "sleep 77" in python_phone.processes().values())
        host.send_signal(ending)
    connected.close()
    until(lambda: python_phone.processes() == {})


def test_a_cut_link_is_said_to_be_one_and_the_phone_comes_back(connected, script, tmp_path, python_phone):
    with connected.open(script, log=tmp_path / "log") as channel:
        channel.ask({"spawn": True}, 30)
        python_phone.link.refusing = True
        python_phone.link.cut()
        with pytest.raises(LinkLostError, match=r"the link was lost: 127.* does not answer any more"):
            channel.ask({}, 30)
    with pytest.raises(LinkLostError):
        connected.push(tmp_path)
    with pytest.raises(LinkLostError):
        connected.connect()
    python_phone.link.refusing = False
    connected.connect()
    with connected.open(script, log=tmp_path / "log") as channel:
        assert channel.ask({"again": 1}, 30)["said"] == {"again": 1}
    connected.close()
    until(lambda: python_phone.processes() == {})  # not even of the conversation that was cut


@pytest.mark.slow
def test_a_link_that_stalls_is_noticed_and_the_phone_comes_back(connected, script, tmp_path, python_phone):
    with connected.open(script, log=tmp_path / "log") as channel:
        channel.ask({}, 30)
        python_phone.link.stalled = True
        begin = time.monotonic()
        with pytest.raises(LinkLostError, match=r"the link was lost: 127.* does not answer"):
            channel.ask({}, 60)
        assert time.monotonic() - begin < 30
    with pytest.raises(LinkLostError, match=r"the link was lost while storing files: 127.* does not answer"):
        connected.push(tmp_path)
    python_phone.link.stalled = False
    connected.connect()
    with connected.open(script, log=tmp_path / "log") as channel:
        assert channel.ask({"again": 1}, 30)["said"] == {"again": 1}


@pytest.mark.slow
def test_a_command_that_waits_for_a_link_that_stalls_is_ended(connected, python_phone):
    link = Link(connected._transport)
    threading.Timer(0.5, lambda: setattr(python_phone.link, "stalled", True)).start()
    with pytest.raises(LinkLostError, match=r"the link was lost while sleeping: 127.* does not answer"):
        link.run("sleep 60", "sleeping", timeout_s=None)


@pytest.mark.slow
def test_a_phone_that_was_switched_off_comes_back_with_what_was_pushed(connected, script, tmp_path, python_phone):
    there = connected.push(script)
    python_phone.stop()
    with pytest.raises(LinkLostError):
        connected.connect()
    python_phone.start()
    connected.connect()
    assert connected.push(script) == there
    with connected.open(script, log=tmp_path / "log") as channel:
        assert channel.ask({"again": 1}, 30)["said"] == {"again": 1}


def test_a_byte_flipped_on_the_way_is_noticed(connected, tmp_path, python_phone):
    (tmp_path / "big").write_bytes(bytes(2_000_000))
    python_phone.link.flip_after("up", 1_000_000)
    with pytest.raises(DeviceError, match="they changed on their way"):
        connected.push(tmp_path / "big")
    there = connected.push(tmp_path / "big")
    assert python_phone.path(there).read_bytes() == bytes(2_000_000)


def test_a_full_disk_is_said_to_be_one(quick, tmp_path, adb_server):
    needs.require("ip", root=True)
    with (
        Limits(disk_bytes=1 << 20) as small,
        Phone(tmp_path / "phone", adb_server, OtherRoot(rootfs.made(rootfs.PHONE)), limits=small) as phone,
    ):
        device = open_device(f"adb://{phone.serial}")
        (tmp_path / "big").write_bytes(bytes(2_000_000))
        with pytest.raises(DeviceError, match="its disk is full"):
            device.push(tmp_path / "big")
        (tmp_path / "small").write_bytes(bytes(100_000))  # nothing of the big one is left
        assert phone.path(device.push(tmp_path / "small")).read_bytes() == bytes(100_000)
        device.close()


@pytest.mark.slow
def test_two_at_once_share_a_phone_by_turns(connected, python_phone):
    connected.claim(print, 1)
    second = open_device(f"adb://{python_phone.serial}")
    told = []
    with pytest.raises(DeviceError, match=r"is in use by .* since"):
        second.claim(told.append, 3)
    assert "waiting for adb://" in told[0]
    connected.close()
    second.claim(told.append, 30)
    second.close()


def test_a_phone_without_python_says_so(quick, adb_phone, script, tmp_path):
    device = open_device(f"adb://{adb_phone.serial}")
    with pytest.raises(DeviceError, match="python3 is not there") as missing:
        device.open(script, log=tmp_path / "log")
    assert "Python 3.9 or newer" in missing.value.hint
    device.close()


@pytest.fixture
def toybox_phone(quick, adb_phone):
    """A phone without Python whose only programs are toybox's, as edgeopt reaches it; and the phone."""
    tools = sorted({*STORE_TOOLS, *CLAIM_TOOLS, "chmod", "setsid"})
    links = " && ".join(f"ln -s /usr/bin/toybox {TOYBOX}/{tool}" for tool in tools)
    assert adb_phone.adb("shell", f"mkdir {TOYBOX} && {links} && ln -s /bin/sh {TOYBOX}/sh").returncode == 0

    class OnlyToybox(AdbTransport):
        def argv(self, command):
            return super().argv(f"PATH={TOYBOX}; {command}")

    device = RemoteDevice(OnlyToybox(adb_phone.serial))
    device.connect()
    yield device, adb_phone
    device.close()


def test_files_need_no_more_than_toybox(toybox_phone, tmp_path):
    device, _ = toybox_phone
    (tmp_path / "a b").write_bytes(bytes(range(256)) * 1000)
    device.pull(posixpath.dirname(device.push(tmp_path / "a b")), tmp_path / "back")
    assert (tmp_path / "back" / "a b").read_bytes() == bytes(range(256)) * 1000


def test_a_claim_without_python_is_kept_given_up_and_taken_over(toybox_phone):
    device, phone = toybox_phone
    device.claim(print, 1)
    second = open_device(f"adb://{phone.serial}")
    with pytest.raises(DeviceError, match=r"is in use by .*\(process \d+\) since \d\d:\d\d"):
        second.claim(print, 0.1)
    device.connect()  # as after a lost link: the older holder of the same owner is no obstacle
    with pytest.raises(DeviceError, match="is in use by"):
        second.claim(print, 0.1)
    device.close()
    second.claim(print, 30)
    second.close()
    until(lambda: phone.processes() == {})


def test_a_claim_ends_with_its_silent_owner(toybox_phone, monkeypatch):
    device, phone = toybox_phone
    monkeypatch.setattr(remote_module, "SILENCE_S", 2.0)
    monkeypatch.setattr(remote_channel, "BEAT_S", 100.0)
    device.claim(print, 1)
    second = open_device(f"adb://{phone.serial}")
    second.claim(print, 30)
    second.close()


def test_with_and_without_python_it_is_one_lock(quick, python_phone, tmp_path):
    for pythons in (("python3", "no-python"), ("no-python", "python3")):
        first, second = (RemoteDevice(AdbTransport(python_phone.serial), python=python) for python in pythons)
        first.connect()
        second.connect()
        first.claim(print, 30)
        with pytest.raises(DeviceError, match=r"is in use by .* since"):
            second.claim(print, 0.1)
        first.close()
        second.claim(print, 30)
        second.close()


def test_a_program_runs_without_python_and_is_ended_with_all_that_it_started(toybox_phone, tmp_path):
    device, phone = toybox_phone
    (tmp_path / "a program").write_text('#!/system/bin/sh\necho "$1"; echo err >&2; $2; exit 7\n')
    program = device.push(tmp_path / "a program")
    assert device.run([program, "a 'b' $(c)", ":"], "running it", 30) == (7, "a 'b' $(c)\nerr\n")
    (tmp_path / "hangs").write_text("#!/system/bin/sh\nsleep 77 & sleep 77\n")
    code, _ = device.run([device.push(tmp_path / "hangs")], "running it", 0.5)
    assert code == TOO_LONG
    until(lambda: "sleep 77" not in phone.processes().values())


def test_a_program_ends_with_its_link(toybox_phone, tmp_path):
    device, phone = toybox_phone
    (tmp_path / "hangs").write_text("#!/system/bin/sh\nsleep 77 & sleep 77\n")
    program = device.push(tmp_path / "hangs")
    with ThreadPoolExecutor(1) as other:
        running = other.submit(device.run, [program], "running it", 60)
        until(lambda: "sleep 77" in phone.processes().values())
        phone.link.cut()
        with pytest.raises(LinkLostError):
            running.result()
    until(lambda: "sleep 77" not in phone.processes().values())


def test_a_program_keeps_to_its_cores(quick, adb_phone, tmp_path):
    device = RemoteDevice(AdbTransport(adb_phone.serial), cores=[1])
    device.connect()
    (tmp_path / "cores").write_text("#!/system/bin/sh\ngrep Cpus_allowed_list /proc/self/status\n")
    code, said = device.run([device.push(tmp_path / "cores")], "running it", 30)
    facts = device.facts()
    device.close()
    assert (code, said.split()) == (0, ["Cpus_allowed_list:", "1"])
    assert facts.details["cores_used"] == "1"


def test_facts_and_health_of_a_phone_without_python(quick, adb_phone):
    device = open_device(f"adb://{adb_phone.serial}")
    facts, health = device.facts(), device.health()
    device.close()
    assert (facts.uri, facts.python, dict(facts.runtimes)) == (f"adb://{adb_phone.serial}", "", {})
    assert facts.os.startswith("Android 14, Linux ")
    assert facts.details["board"] == "Edgeopt Stand-in"
    assert (health.battery_percent, health.charging) == (87, True)


def test_a_phone_that_has_not_allowed_us(quick, adb_unauthorized):
    with pytest.raises(DeviceError, match="has not allowed this computer") as refused:
        open_device(f"adb://{adb_unauthorized.serial}")
    assert "say yes" in refused.value.hint
    assert not isinstance(refused.value, LinkLostError)  # waiting does not help


@pytest.mark.slow
def test_a_phone_that_is_offline(quick, adb_offline):
    with pytest.raises(LinkLostError, match="is offline") as lost:
        open_device(f"adb://{adb_offline.serial}")
    assert "USB debugging" in lost.value.hint


def test_no_such_phone(quick):
    with pytest.raises(DeviceError, match="no phone called R58M is connected") as missing:
        open_device("adb://R58M")
    assert missing.value.hint.startswith("adb -P")
    with pytest.raises(DeviceError, match=r"no phone called 127\.0\.0\.1:9 is connected"):
        open_device("adb://127.0.0.1:9")


def test_the_only_phone_needs_no_serial_and_one_of_several_does(quick, adb_server, tmp_path, request):
    with pytest.raises(DeviceError, match="no phone is connected"):
        open_device("adb://")
    first = request.getfixturevalue("adb_phone")
    device = open_device("adb://")
    assert device.uri == f"adb://{first.serial}"
    device.close()
    second = request.getfixturevalue("adb_unauthorized")
    with pytest.raises(DeviceError, match="several phones") as several:
        open_device("adb://")
    assert f"adb://{first.serial}" in several.value.hint
    assert f"adb://{second.serial} (unauthorized)" in several.value.hint


def test_no_permissions_and_old_android_are_told_by_adbs_words():
    # No phone here can say this; the words are those of adb's sources (transport.cpp, commandline.cpp).
    phone = AdbTransport("R58M")
    said = "error: insufficient permissions for device: user in plugdev group; are your udev rules wrong?"
    assert phone.why(said).message == "this user may not use R58M"
    assert "udev" in phone.why(said).hint
    assert "too old" in phone.why("error: target doesn't support PTY args -Tt").message


def test_no_adb(monkeypatch):
    monkeypatch.setenv(COMMAND_VARIABLE, "/no/such/adb")
    with pytest.raises(DeviceError, match="/no/such/adb cannot be started") as missing:
        open_device("adb://R58M")
    assert "apt-get install adb" in missing.value.hint


@pytest.mark.parametrize("serial", ["-a", "a b", "a\nb", "\x1b[31m"])
def test_what_is_no_serial_is_never_given_to_adb(serial):
    with pytest.raises(DeviceError, match="is no serial"):
        AdbTransport(serial)
