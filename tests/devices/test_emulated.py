"""Processors that qemu-user emulates, as devices."""

import json
import os
import shutil
import sys

import pytest

import edgeopt
from edgeopt.devices import find_device, open_device
from edgeopt.devices.emulated import EmulatedDevice, find_qemu, known_models
from edgeopt.errors import DeviceError, ExitCode, UsageError
from edgeopt.pipeline import reference
from edgeopt.pipeline.profile import run_profile
from edgeopt.pipeline.request import ExportSettings
from tests.pipeline.test_sustained import Told
from tests.standins import qemu

pytestmark = pytest.mark.usefixtures("shared_import")

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


@pytest.mark.parametrize(
    "uri", ["qemu://", "qemu://a b", "qemu://-cpu", "qemu://Haswell,-avx2", "qemu://../x", "qemu://help"]
)
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
    assert caught.value.message == (
        f"{program} is version 7.2.22; needed is 10.0 or newer, since 7.2 computes wrong results with AVX2"
    )


def test_a_qemu_that_does_not_start(tmp_path, monkeypatch):
    (tmp_path / "qemu-x86_64").write_text("no program")
    (tmp_path / "qemu-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="does not report its version; needed is"):
        EmulatedDevice("Haswell").connect()


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The demo's int8 files, with ten feeds to answer."""
    out = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "MOST_BYTES", 40_000)
        run = edgeopt.export(targets="tflite-int8,onnx-int8", out=out, seconds=0.0, min_iterations=1)
    assert [result.status for result in run.results] == ["ok"] * 3
    return out / "demo"


@pytest.mark.slow
def test_a_profile_judges_and_does_not_time(exported, qemu_user):
    settings = ExportSettings(rank=True, ops=True, seconds=0.0, min_iterations=1)
    told = Told()
    found = run_profile(exported, ("local", "qemu://Haswell"), settings, told)
    here, emulated = found.runs
    assert (found.code, emulated.ranking) == (ExitCode.OK, None)
    for row, native in zip(emulated.results[1:], here.results[1:], strict=True):
        assert (row.status, row.latency, row.memory, row.untimed) == ("ok", None, None, "emulated processor")
        assert row.fidelity.top1_agreement == native.fidelity.top1_agreement == 1.0
        assert native.latency is not None
    assert emulated.device.details["emulated"].startswith("qemu-user 1")
    assert "on qemu://Haswell, an emulated processor (qemu-user 1" in emulated.table(200)
    assert "qemu://Haswell: qemu://Haswell is not timed; without effect: --ops" in told.said


@pytest.mark.slow
def test_a_bound_is_not_met_by_what_was_not_judged(exported, qemu_user, tmp_path):
    shutil.copytree(exported, tmp_path / "demo")
    file = tmp_path / "demo" / "onnx-int8" / "edgeopt.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "needs": ["vnni"]}))
    shutil.rmtree(tmp_path / "demo" / "tflite-int8")
    quick = {"rank": True, "seconds": 0.0, "min_iterations": 1}
    whole = run_profile(tmp_path / "demo", ("qemu://Haswell",), ExportSettings(**quick), Told())
    bound = run_profile(tmp_path / "demo", ("qemu://Haswell",), ExportSettings(min_agreement=0.9, **quick), Told())
    alone = run_profile(file.parent, ("qemu://Haswell",), ExportSettings(**quick), Told())
    assert (whole.code, bound.code, alone.code) == (ExitCode.OK, ExitCode.BUDGET_NOT_MET, ExitCode.UNAVAILABLE)


@pytest.mark.slow
@pytest.mark.parametrize(("bound", "code"), [({"min_sqnr_db": 10.0}, 0), ({"min_sqnr_db": 90.0}, 7)])
def test_a_stated_bound_is_a_budget_where_nothing_is_timed(exported, qemu_user, bound, code):
    settings = ExportSettings(rank=True, seconds=0.0, min_iterations=1, targets=("onnx-int8",), **bound)
    found = run_profile(exported, ("qemu://Haswell",), settings, Told())
    (line,) = found.runs[0].results[1].budget
    assert (found.code, line.name, line.met) == (code, "min_sqnr_db", code == 0)


@pytest.mark.slow
def test_devices_on_this_machine_are_measured_in_turn(exported, qemu_user):
    told = Told()
    settings = ExportSettings(rank=True, seconds=0.0, min_iterations=1, targets=("onnx-int8",))
    run_profile(exported, ("qemu://Haswell", "qemu://Nehalem", "local"), settings, told)
    order = list(dict.fromkeys(key.split()[0] for key, _ in told.stages))
    assert order == ["qemu://Haswell", "qemu://Nehalem", "local"]
    assert [key.split()[0] for key, _ in told.stages] == sorted(
        (key.split()[0] for key, _ in told.stages), key=order.index
    )


@pytest.mark.slow
def test_a_limit_on_time_is_not_checked_where_nothing_is_timed(exported, qemu_user, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    target = 'summary = "s"\nbackend = "onnxruntime"\n[budget]\nmax_median_s = 1e-9\nmax_size_bytes = 1\n'
    (tmp_path / "targets" / "onnx-tiny.toml").write_text(target)
    shutil.copytree(exported, tmp_path / "demo")
    (tmp_path / "demo" / "onnx-int8").rename(tmp_path / "demo" / "onnx-tiny")
    settings = ExportSettings(rank=True, seconds=0.0, min_iterations=1, targets=("onnx-tiny",))
    found = run_profile(tmp_path / "demo", ("qemu://Haswell",), settings, Told())
    (line,) = found.runs[0].results[1].budget
    assert (found.code, line.name, line.met) == (ExitCode.BUDGET_NOT_MET, "max_size_bytes", False)
