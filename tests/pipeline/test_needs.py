"""An artifact that needs VNNI is refused where there is none: in an export, in a profile, and by `verify`."""

import json
import re
from dataclasses import replace

import pytest

import edgeopt
from edgeopt.artifact import read_manifest
from edgeopt.devices.local import LocalDevice
from edgeopt.measure.facts import Facts
from edgeopt.pipeline.needs import find_misfits, unmet_needs

pytestmark = pytest.mark.usefixtures("shared_import")

QUICK = {"seconds": 0.0, "min_iterations": 1}
ANY_ANSWER = {**QUICK, "allow_degenerate": True}
"""VNNI is only claimed, so the answers of 8-bit weights may be wrong here."""
OLD, NEW = "none", "avx512_vnni"


@pytest.fixture
def processor(monkeypatch):
    """A function that changes what this machine reports of its dot products; nothing else of it is changed."""
    facts = LocalDevice.facts

    def pretend(flags):
        def changed(device):
            found = facts(device)
            return replace(found, machine="x86_64", details={**found.details, "int8_features": flags})

        monkeypatch.setattr(LocalDevice, "facts", changed)

    return pretend


@pytest.fixture(scope="module")
def full_range(tmp_path_factory):
    """The demo's onnx-int8 with 8-bit weights, exported on a machine that reports VNNI."""
    out = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        facts = LocalDevice.facts

        def with_vnni(device):
            found = facts(device)
            return replace(found, details={**found.details, "int8_features": NEW})

        patch.setattr(LocalDevice, "facts", with_vnni)
        edgeopt.export(targets="onnx-int8", out=out, settings=["reduce_range=false"], **ANY_ANSWER)
    return out / "demo"


def test_the_sentence_names_the_feature_the_processor_and_the_setting():
    facts = Facts(uri="ssh://box", machine="x86_64", cpu="Xeon E5", details={"int8_features": "none"})
    error = unmet_needs(facts, "onnx-int8", ["vnni"], "reduce_range=true")
    assert (error.kind, error.message, error.hint) == (
        "unavailable",
        "this file needs VNNI, which ssh://box (Xeon E5) does not have: its results would be wrong",
        "export again with --set onnx-int8.reduce_range=true, or with --device for a device that has VNNI",
    )
    assert unmet_needs(facts, "mine", ["vnni"], "").hint == "choose another target for this device"
    assert unmet_needs(facts, "mine", None, "") is None
    assert unmet_needs(replace(facts, details={"int8_features": "avx_vnni"}), "mine", ["vnni"], "") is None


def test_the_manifest_states_the_need_and_the_reason(full_range):
    manifest = read_manifest(full_range / "onnx-int8")
    assert (manifest["needs"], manifest["fallback"]) == (["vnni"], "reduce_range=true")
    assert manifest["metadata"]["weight_bits"] == 8
    reason = "as requested; x86 processors without VNNI compute wrong results with this file"
    assert manifest["metadata"]["weight_bits_reason"] == reason
    assert manifest["warnings"][0] == f"8-bit weights: {reason}"


def test_a_profile_refuses_it_before_it_runs(full_range, processor):
    processor(OLD)
    (run,) = edgeopt.profile(full_range, **QUICK)
    row = run.results[1]
    assert (row.status, row.error.kind, row.latency, row.fidelity) == ("unavailable", "unavailable", None, None)
    assert row.error.message.startswith("this file needs VNNI, which local (")
    assert row.error.hint.startswith("export again with --set onnx-int8.reduce_range=true, or")


def test_a_profile_runs_it_where_the_processor_reports_vnni(full_range, processor):
    processor(NEW)
    (run,) = edgeopt.profile(full_range, **ANY_ANSWER)
    assert run.results[1].error is None
    assert run.results[1].fidelity is not None


def test_verify_says_so_too(full_range, processor):
    processor(OLD)
    (error,) = find_misfits([full_range / "onnx-int8"], "local").values()
    assert error.message.startswith("this file needs VNNI")
    processor(NEW)
    assert find_misfits([full_range / "onnx-int8"], "local") == {full_range / "onnx-int8": None}


SPOILT = [
    lambda m: m.pop("backend"),
    lambda m: m.update(needs="vnni"),
    lambda m: m.update(needs=[3]),
    lambda m: m.update(fallback=None),
    lambda m: m.update(fallback="a=1; b"),
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_manifest_that_cannot_be_used_is_told(full_range, tmp_path, spoil):
    manifest = json.loads((full_range / "onnx-int8" / "edgeopt.json").read_text())
    spoil(manifest)
    (tmp_path / "edgeopt.json").write_text(json.dumps(manifest))
    (error,) = find_misfits([tmp_path], "local").values()
    assert error.message.startswith("its edgeopt.json cannot be used: ")


@pytest.mark.slow
def test_an_export_for_a_processor_without_it_keeps_no_such_file(processor, tmp_path):
    processor(OLD)
    run = edgeopt.export(targets="onnx-int8", out=tmp_path, settings=["reduce_range=false"], **QUICK)
    assert run.results[1].error.message.startswith("this file needs VNNI")
    assert not (tmp_path / "demo" / "onnx-int8").exists()


@pytest.mark.slow
def test_the_device_that_is_named_decides_whether_eight_bits_are_tried(processor, tmp_path):
    processor(NEW)
    anywhere = edgeopt.export(targets="onnx-int8", out=tmp_path, **QUICK).results[1]
    assert anywhere.warnings[0] == "7-bit weights: this file is right on processors without VNNI too"
    # ONNX Runtime judges 8-bit weights alike on every processor
    settings = ["quantization=dynamic-int8"]
    run = edgeopt.export(targets="onnx-int8", out=tmp_path, device="local", settings=settings, **ANY_ANSWER)
    named = run.results[1]
    assert named.artifact.metadata["weight_bits"] == 8
    assert re.match(r"8-bit weights: \d\.\d dB more accurate than 7 bits here, and the device has", named.warnings[0])
    assert read_manifest(tmp_path / "demo" / "onnx-int8")["needs"] == ["vnni"]
