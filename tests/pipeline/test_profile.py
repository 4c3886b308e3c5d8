"""`edgeopt profile`: artifacts that exist are measured again, with what the export has kept and without it."""

import json
import shutil

import pytest

import edgeopt
from edgeopt.devices.local import LocalDevice
from edgeopt.errors import BadInputError, UsageError
from edgeopt.pipeline import profile as profile_module
from edgeopt.pipeline import reference as reference_module
from edgeopt.pipeline.findings import make_run
from edgeopt.pipeline.profile import SOURCE_UNTIMED, run_profile
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.report.schema import Run

pytestmark = pytest.mark.usefixtures("shared_import")

QUICK = {"seconds": 0.1, "min_iterations": 24}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The demo, exported once: the folder and the run."""
    out = tmp_path_factory.mktemp("exported")
    run = edgeopt.export(targets="tflite-int8,tflite-float32", out=out, **QUICK)
    assert [result.status for result in run.results] == ["ok"] * 3
    return out / "demo", run


@pytest.fixture
def made(exported, tmp_path, monkeypatch):
    """A copy of the exported folder, which a test may spoil."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported[0], tmp_path / "demo")
    return tmp_path / "demo"


def row(run, target):
    return next(result for result in run.results if result.target == target)


def test_a_profile_says_of_the_artifacts_what_the_export_said(made, exported):
    (run,) = edgeopt.profile(made, **QUICK)
    assert [result.target for result in run.results] == ["source", "tflite-int8", "tflite-float32"]
    for name in ("tflite-int8", "tflite-float32"):
        before, after = row(exported[1], name), row(run, name)
        assert after.artifact.files == before.artifact.files
        assert after.artifact.gzip_bytes == before.artifact.gzip_bytes
        assert after.fidelity.top1_agreement == before.fidelity.top1_agreement
        assert after.fidelity.accuracy == before.fidelity.accuracy
        assert after.latency.launches >= 3
        assert after.versus_source.size_ratio == before.versus_source.size_ratio
        assert after.versus_source.speedup is None
    source = row(run, "source")
    assert (source.status, source.latency, source.untimed) == ("ok", None, SOURCE_UNTIMED)
    assert (run.model, run.data) == (exported[1].model, exported[1].data)
    # which of the two is faster depends on the processor
    assert {ranked.target for ranked in run.ranking.order} == {"tflite-int8", "tflite-float32"}
    assert Run.from_json((made / "profile-local.json").read_text()).results == run.results
    assert not list(made.glob(".edgeopt-work-*"))


def test_one_artifact_alone(made):
    (run,) = edgeopt.profile(made / "tflite-int8", **QUICK)
    assert [result.target for result in run.results] == ["source", "tflite-int8"]
    (same,) = edgeopt.profile(made, targets=["tflite-int8"], **QUICK)
    assert [result.target for result in same.results] == ["source", "tflite-int8"]


def test_a_finished_profile_is_not_measured_again(made):
    (first,) = edgeopt.profile(made, **QUICK)
    (again,) = edgeopt.profile(made, resume=True, **QUICK)
    assert row(again, "tflite-int8").latency == row(first, "tflite-int8").latency
    (other,) = edgeopt.profile(made, resume=True, **{**QUICK, "min_iterations": 30})
    assert row(other, "tflite-int8").latency != row(first, "tflite-int8").latency


def spoil(name, change):
    """Return what changes the bytes of a file of a reference."""
    return lambda reference: (reference / name).write_bytes(change((reference / name).read_bytes()))


def without_inputs(index):
    return json.dumps({**json.loads(index), "inputs": []}).encode()


LOSSES = {
    "all": shutil.rmtree,
    "empty answers": spoil("output0.npy", lambda _: b""),
    "cut answers": spoil("output0.npy", lambda content: content[:-4]),
    "answers that begin as a zip file": spoil("output0.npy", lambda _: b"PK\x03\x04"),
    "empty feeds": spoil("0.npy", lambda _: b""),
    "cut feeds": spoil("0.npy", lambda content: content[:-4]),
    "a list where names belong": spoil("index.json", without_inputs),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_without_the_answers_of_the_source_only_time_is_told(made, lose):
    lose(made / "reference")
    (run,) = edgeopt.profile(made, **QUICK)
    assert row(run, "tflite-int8").latency.launches >= 3
    assert row(run, "tflite-int8").fidelity is None
    assert (run.data.evaluation.source, run.ranking) == ("noise", None)


@pytest.mark.slow
def test_a_few_feeds_are_kept_and_a_profile_says_how_many(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_module, "MOST_BYTES", 100_000)
    monkeypatch.chdir(tmp_path)
    edgeopt.export(targets="tflite-float32", **QUICK)
    (run,) = edgeopt.profile("dist/demo", **QUICK)
    fidelity = row(run, "tflite-float32").fidelity
    assert 1 < fidelity.feeds == run.data.evaluation.count < 1000
    assert sum(file.stat().st_size for file in (tmp_path / "dist/demo/reference").iterdir()) < 110_000
    assert fidelity.top1_agreement == 1.0


def test_a_reference_that_cannot_be_kept_is_a_warning(tmp_path):
    mine = tmp_path / "demo" / "reference" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("x")
    run = edgeopt.export(targets="tflite-float32", out=tmp_path, **QUICK)
    assert [(result.status, result.latency.launches >= 3) for result in run.results] == [("ok", True)] * 2
    (warning,) = row(run, "source").warnings
    assert warning.startswith("a later profile cannot tell fidelity: ")
    assert "was not written by edgeopt" in warning
    assert mine.read_text() == "x"


def test_an_artifact_of_an_older_model_is_not_taken_for_one_of_the_newer(made):
    file = made / "tflite-int8" / "edgeopt.json"
    manifest = json.loads(file.read_text())
    manifest["model"]["sha256"] = "0" * 64
    file.write_text(json.dumps(manifest))
    (run,) = edgeopt.profile(made, **QUICK)
    assert row(run, "tflite-int8").error.message == "it was made from another model than the latest export"
    assert row(run, "tflite-float32").latency is not None


def test_a_bug_on_one_device_costs_the_others_nothing(made, monkeypatch):
    def broken(found):
        if found.facts.uri == "toaster" and found.bound:
            raise ZeroDivisionError("a bug")
        return make_run(found)

    monkeypatch.setattr(profile_module, "make_run", broken)
    found = run_profile(made, ("toaster", "local"), ExportSettings(rank=True, **QUICK), Silence())
    unknown, here = found.runs
    assert isinstance(found.failure, ZeroDivisionError)
    assert row(unknown, "tflite-int8").error.message == "a bug in edgeopt: ZeroDivisionError: a bug"
    assert row(here, "tflite-int8").latency is not None


def test_a_device_that_cannot_be_let_go_of_keeps_what_was_measured_and_costs_the_others_nothing(made, monkeypatch):
    class Clinging(LocalDevice):
        def close(self):
            raise ZeroDivisionError("a bug")

    devices = {"clinging": Clinging, "local": LocalDevice}
    monkeypatch.setattr(profile_module, "find_device", lambda name: devices[name]())
    found = run_profile(made, tuple(devices), ExportSettings(rank=True, **QUICK), Silence())
    assert isinstance(found.failure, ZeroDivisionError)
    assert len(found.runs) == 2
    for run in found.runs:
        assert (row(run, "tflite-int8").error, row(run, "tflite-int8").latency.launches >= 3) == (None, True)


def test_an_artifact_that_was_changed_is_not_measured_and_the_other_is(made):
    with (made / "tflite-int8" / "model.tflite").open("ab") as file:
        file.write(b"x")
    (run,) = edgeopt.profile(made, **QUICK)
    assert row(run, "tflite-int8").error.message == "it is not as it was written: model.tflite has changed"
    assert row(run, "tflite-float32").latency is not None


@pytest.mark.parametrize(
    "spoil", [lambda m: m.pop("backend"), lambda m: m.update(main=None), lambda m: m.update(backend="no")]
)
def test_a_manifest_that_cannot_be_used_is_its_own_row(made, spoil):
    file = made / "tflite-int8" / "edgeopt.json"
    manifest = json.loads(file.read_text())
    spoil(manifest)
    file.write_text(json.dumps(manifest))
    (run,) = edgeopt.profile(made, **QUICK)
    assert row(run, "tflite-int8").error is not None
    assert row(run, "tflite-float32").latency is not None


def test_what_is_no_folder_of_artifacts(made, tmp_path):
    with pytest.raises(BadInputError, match="there is no folder"):
        edgeopt.profile(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="there is no artifact in"):
        edgeopt.profile(tmp_path / "empty")
    with pytest.raises(UsageError, match="there is no artifact 'tflite-int9'") as misspelt:
        edgeopt.profile(made, targets="tflite-int9")
    assert "tflite-int8" in misspelt.value.hint
    with pytest.raises(UsageError, match="named twice"):
        edgeopt.profile(made, ["local", "local"])
    (made / "run.json").write_text("{")
    with pytest.raises(BadInputError, match=r"run\.json cannot be read"):
        edgeopt.profile(made)
    (made / "run.json").unlink()
    with pytest.raises(BadInputError, match=r"there is no run\.json in"):
        edgeopt.profile(made)


def test_a_device_that_nobody_knows_is_a_whole_block_and_the_other_is_measured(made):
    unknown, here = edgeopt.profile(made, ["toaster", "local"], **QUICK)
    assert "no device is called 'toaster'" in row(unknown, "tflite-int8").error.message
    assert row(here, "tflite-int8").latency is not None
    assert (made / "profile-toaster.json").is_file()


def test_the_command_prints_a_table_and_one_document(edgeopt, exported, tmp_path):
    shutil.copytree(exported[0], tmp_path / "demo")
    options = ["--seconds", "0.1", "--min-iterations", "24"]
    code, out, err = edgeopt.run("profile", "demo", *options, "--json", "all.json")
    assert code == 0, err
    assert "Artifacts, logs and profile-local.json are in demo" in out
    document = json.loads((tmp_path / "all.json").read_text())
    assert (document["schema"], len(document["runs"])) == (1, 1)
    assert document["runs"][0]["device"]["uri"] == "local"
    code, out, err = edgeopt.run("profile", "demo", "--device", "ssh://nobody@127.0.0.1:1", *options, "--json", "-")
    assert code == 6
    assert json.loads(out)["runs"][0]["results"][1]["error"]["kind"] == "device"
    assert "runs no ssh server" in err
