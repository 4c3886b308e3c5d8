"""The phones are what they claim, as the real `adb` sees them."""

import os
import subprocess

import pytest

from tests.standins.waiting import until

pytestmark = pytest.mark.slow


def test_a_shell_has_output_errors_and_an_exit_code(adb_phone):
    done = adb_phone.adb("shell", "id -un; getprop ro.product.cpu.abi; echo bad >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "shell\nx86_64\n", "bad\n")


def test_files_go_there_and_back_unchanged(adb_phone, tmp_path):
    data = os.urandom(1_000_000)
    (tmp_path / "sent").write_bytes(data)
    assert adb_phone.adb("push", tmp_path / "sent", "/data/local/tmp/file").returncode == 0
    assert adb_phone.path("/data/local/tmp/file").read_bytes() == data
    assert adb_phone.adb("pull", "/data/local/tmp/file", tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == data


def test_it_answers_as_a_phone_does_and_has_no_python(adb_phone):
    shell = adb_phone.adb(
        "shell", "getprop ro.build.version.sdk; getprop none or; getprop | head -n 1; dumpsys battery"
    )
    lines = shell.stdout.splitlines()
    assert lines[:3] == ["34", "or", "[ro.product.manufacturer]: [Edgeopt]"]
    assert "  level: 87" in lines
    assert adb_phone.adb("shell", "python3 --version").returncode == 127
    assert "Read-only file system" in adb_phone.adb("shell", "touch /system/x").stderr


def test_a_phone_with_python_has_numpy_and_litert(python_phone):
    done = python_phone.adb(
        "shell", "python3 -c 'import numpy, ai_edge_litert.interpreter; print(numpy.arange(3).sum())'"
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_phone_whose_power_was_cut_comes_back_with_its_files(adb_phone):
    adb_phone.adb("shell", "echo 1 > /data/local/tmp/kept; (setsid sleep 77 > /dev/null 2>&1 &)")
    until(lambda: "sleep 77" in adb_phone.processes().values())
    adb_phone.stop()
    until(lambda: adb_phone.server.states().get(adb_phone.serial) != "device")
    assert adb_phone.adb("shell", "true").returncode != 0
    adb_phone.start()
    assert adb_phone.adb("shell", "cat /data/local/tmp/kept").stdout == "1\n"
    assert adb_phone.processes() == {}


def test_a_byte_flipped_on_the_way_is_not_noticed_by_adb(adb_phone, tmp_path):
    (tmp_path / "sent").write_bytes(bytes(1_000_000))
    adb_phone.link.flip_after("up", 500_000)
    assert adb_phone.adb("push", tmp_path / "sent", "/data/local/tmp/file").returncode == 0
    assert adb_phone.path("/data/local/tmp/file").read_bytes() != bytes(1_000_000)


def test_a_phone_that_waits_for_its_owner_is_unauthorized(adb_unauthorized):
    assert adb_unauthorized.server.states() == {adb_unauthorized.serial: "unauthorized"}
    assert "device unauthorized" in adb_unauthorized.adb("shell", "true").stderr


def test_a_phone_that_does_not_answer_is_offline(adb_offline):
    assert adb_offline.server.states() == {adb_offline.serial: "offline"}
    assert "device offline" in adb_offline.adb("shell", "true").stderr


def test_two_phones_need_a_serial(adb_server, adb_phone, python_phone):
    assert "more than one device" in adb_server.adb("shell", "true").stderr
    assert adb_phone.adb("shell", "command -v python3").stdout == ""
    assert python_phone.adb("shell", "command -v python3").stdout == "/usr/bin/python3\n"


def test_nothing_listens_but_on_loopback(adb_phone):
    listening = subprocess.run(["ss", "-Hltn"], check=False, capture_output=True, text=True).stdout
    assert f" 127.0.0.1:{adb_phone.server.port} " in listening
    assert f" 127.0.0.1:{adb_phone.link.port} " in listening
    assert ":5555 " not in listening
