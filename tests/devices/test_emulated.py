"""Processors that qemu-user emulates, as devices."""

import json
import os
import shutil
import sys

import pytest

from edgeopt.devices import find_device, open_device
from edgeopt.devices.emulated import EmulatedDevice, find_qemu, known_models
from edgeopt.errors import DeviceError, UsageError
from edgeopt.pipeline import reference
from tests.standins import qemu

FEATURES = """
import json, sys
import numpy as np
from numpy._core._multiarray_umath import __cpu_features__ as found
for line in sys.stdin:
    print(json.dumps({"avx2": found["AVX2"], "executable": sys.executable, **json.loads(line)}), flush=True)
"""


@pytest.fixture
def qemu_user(monkeypatch):
    monkeypatch.setenv("PATH", f"{qemu.folder()}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def fake_qemu(tmp_path, monkeypatch):
    """A function that puts a qemu of some version on the PATH, alone."""

    def install(version):
        program = tmp_path / "bin" / "qemu-x86_64-static"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho 'qemu-x86_64 version {version} (Debian)'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))
        return program

    return install


@pytest.mark.parametrize(("model", "has_avx2"), [("Haswell", True), ("Nehalem", False)])
def test_programs_see_the_named_processor(qemu_user, tmp_path, model, has_avx2):
    (tmp_path / "features.py").write_text(FEATURES)
    device = open_device(f"qemu://{model}")
    try:
        with device.open(tmp_path / "features.py", log=tmp_path / "log") as channel:
            answer = channel.ask({"asked": 1}, 60)
    finally:
        device.close()
    assert answer == {"avx2": has_avx2, "executable": sys.executable, "asked": 1}
    facts = device.facts()
    assert (facts.uri, facts.cpu, facts.details["int8_features"]) == (f"qemu://{model}", model, "none")
    assert facts.details["emulated"].startswith("qemu-user 1")
    assert device.health().emulated == facts.details["emulated"]
    assert device.untimed


def test_a_misspelt_processor(qemu_user):
    with pytest.raises(UsageError, match="qemu does not know the processor 'Haswel'") as caught:
        open_device("qemu://Haswel")
    assert caught.value.hint.startswith("did you mean Haswell")


def test_what_qemu_cannot_emulate_is_refused(qemu_user):
    with pytest.raises(DeviceError, match=r"qemu cannot emulate Icelake-Server: it does not support avx512") as caught:
        open_device("qemu://Icelake-Server")
    assert caught.value.hint == "name an older processor, for instance qemu://Haswell"


def test_the_processors_are_listed_by_their_names(qemu_user):
    models = known_models(find_qemu()[0])
    assert {"Haswell", "Nehalem", "EPYC"} <= set(models)
    assert not {"Available", "x86", "Recognized"} & set(models)


@pytest.mark.parametrize("uri", ["qemu://", "qemu://a b", "qemu://-cpu", "qemu://Haswell,-avx2", "qemu://../x"])
def test_what_cannot_be_a_processor(uri):
    with pytest.raises(UsageError, match="is not a processor's name"):
        find_device(uri)


def test_qemu_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="qemu-user is not installed") as caught:
        EmulatedDevice("Haswell").connect()
    assert "apt install qemu-user" in caught.value.hint


def test_an_old_qemu_computes_wrong_results(fake_qemu):
    program = fake_qemu("7.2.22")
    with pytest.raises(DeviceError) as caught:
        EmulatedDevice("Haswell").connect()
    assert caught.value.message == f"{program} is version 7.2.22, which computes wrong results; needed is 10.0"


def test_the_newest_of_several_is_taken(qemu_user, tmp_path, monkeypatch):
    newest = find_qemu()
    old = tmp_path / "qemu-x86_64-static"
    old.write_text("#!/bin/sh\necho 'qemu-x86_64 version 7.2.1'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_qemu() == newest


def test_other_machines_have_no_such_emulator(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(DeviceError, match="on x86-64 Linux only"):
        EmulatedDevice("Haswell").connect()


def test_one_with_a_name(cli, tmp_path):
    added = cli("devices", "add", "old", "qemu://Haswell")
    assert (added.code, added.err) == (0, "")
    assert (tmp_path / "config" / "devices" / "old.toml").read_text() == 'uri = "qemu://Haswell"\n'
    assert find_device("old").name == "old"
    wrong = cli("devices", "add", "older", "qemu://Nehalem", "--python", "python3.11")
    assert (wrong.code, wrong.err.splitlines()[0]) == (
        2,
        "error: device 'older': python is for ssh and adb only",
    )
    prepared = cli("devices", "prepare", "old", "--yes")
    assert prepared.code == 2
    message, hint = prepared.err.splitlines()[-2:]
    assert message.endswith(
        "qemu://Haswell is this machine with another processor: it has nothing to prepare or to clean"
    )
    assert hint == "hint: install packages here, with pip"


@pytest.mark.slow
def test_a_profile_judges_and_does_not_time(edgeopt, qemu_user, monkeypatch):
    monkeypatch.setattr(reference, "MOST_BYTES", 30_000)
    quick = ("--seconds", "0", "--min-iterations", "1")
    assert edgeopt.run("export", "-t", "tflite-int8,onnx-int8", *quick)[0] == 0
    code, out, err = edgeopt.run(
        "profile", "dist/demo", "--device", "qemu://Haswell", "--device", "local", *quick, "--json", "all.json"
    )
    assert code == 0, err
    emulated, here = json.loads((edgeopt.folder / "all.json").read_text())["runs"]
    assert emulated["device"]["details"]["emulated"].startswith("qemu-user 1")
    assert emulated["ranking"] is None
    for row, native in zip(emulated["results"][1:], here["results"][1:], strict=True):
        assert (row["status"], row["latency"], row["memory"]) == ("ok", None, None)
        assert row["untimed"] == "emulated processor"
        assert row["fidelity"]["top1_agreement"] == native["fidelity"]["top1_agreement"] > 0.98
        assert native["latency"] is not None
    assert (
        "on qemu://Haswell, an emulated\nprocessor (qemu-user 1" in out or "an emulated processor (qemu-user 1" in out
    )
    shutil.rmtree(edgeopt.folder / "dist")
