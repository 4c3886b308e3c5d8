"""The main job from end to end, as a user runs it, on the embedded demo."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgeopt.pipeline.durations import FILE
from edgeopt.pipeline.exporting import IMPORT
from edgeopt.report.schema import Run
from edgeopt.source.choice import DEMO

QUICK = ("--seconds", "0.3", "--min-iterations", "60")
THREE = ("tflite-int8", "tf-gpu", "saved-without-optimizer")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Everything about one run with the three backends: exit code, document, standard error, folder."""
    from tests.conftest import CommandLine

    folder = tmp_path_factory.mktemp("three")
    edgeopt = CommandLine(folder)
    code, out, err = edgeopt.run("export", "-t", ",".join(THREE), *QUICK, "--ops", "--json", "-")
    return code, json.loads(out), err, folder


@pytest.fixture(scope="module")
def rows(three):
    return {row["target"]: row for row in three[1]["results"]}


def test_all_three_kinds_of_artifact_are_made_and_the_source_comes_first(three, rows):
    code, run, _, folder = three
    assert code == 0
    assert list(rows) == ["source", *THREE]
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert json.loads((folder / "dist" / "demo" / "run.json").read_text()) == run
    assert Run.from_json(json.dumps(run)).to_json() == json.dumps(run, indent=1, ensure_ascii=False)


def test_the_run_says_what_was_exported_from_what_on_what(three):
    run = three[1]
    assert run["schema"] == 1
    assert run["model"]["chosen_by"] == "the embedded demo"
    assert run["model"]["inputs"] == [{"name": "image", "shape": [1, 28, 28, 1], "dtype": "float32"}]
    assert run["model"]["outputs"] == [{"name": "probabilities", "shape": [1, 10], "dtype": "float32"}]
    assert run["data"]["calibration"]["source"] == "demo"
    assert run["data"]["calibration"]["count"] == 200
    assert run["data"]["evaluation"] == {"source": "demo", "count": 1000, "labelled": True}
    assert run["device"]["uri"] == "local"
    assert run["device"]["cores"] >= 1
    assert "tensorflow" in run["device"]["runtimes"]
    assert {"governor", "load_average", "cores_allowed", "doubts"} <= set(run["device"]["health"])


def test_int8_is_small_and_true(rows):
    row = rows["tflite-int8"]
    assert row["artifact"]["size_bytes"] < 90_000
    assert row["versus_source"]["size_ratio"] > 9
    low, high = row["versus_source"]["speedup_ci95"]
    assert low <= row["versus_source"]["speedup"] <= high
    assert row["fidelity"]["feeds"] == 1000
    assert row["fidelity"]["top1_agreement"] > 0.99
    assert abs(row["fidelity"]["accuracy"] - row["fidelity"]["source_accuracy"]) < 0.01
    assert row["fidelity"]["source_accuracy"] == 0.985
    assert row["artifact"]["calibration_feeds"] == 200


def test_where_the_time_goes_is_told_by_the_runtime_where_it_can(three, rows):
    row = rows["tflite-int8"]
    assert row["operators_problem"] == ""
    assert row["operators"][0]["name"] == "CONV_2D"
    assert (row["operators"][0]["kernel"], row["operators"][0]["count"]) == ("XNNPACK", 5)
    assert ("SOFTMAX", "built-in") in {(operator["name"], operator["kernel"]) for operator in row["operators"]}
    assert 0.3 < sum(operator["time_s"] for operator in row["operators"]) / row["latency"]["median_s"] < 3
    row = rows["saved-without-optimizer"]
    assert (row["operators"], row["status"]) == ([], "ok")
    assert row["operators_problem"] == "its runner does not tell the time of operators"
    assert rows["source"]["operators_problem"] == ""
    assert "Where the time goes\n" in three[2]


def test_latency_keeps_every_sample_and_gives_only_percentiles_that_it_can(rows):
    latency = rows["tflite-int8"]["latency"]
    assert latency["iterations"] == len(latency["samples_s"]) >= 60
    assert latency["launches"] >= 3
    low, high = latency["ci95_s"]
    assert low <= latency["median_s"] <= high
    assert latency["min_s"] <= latency["median_s"] <= latency["p90_s"]
    assert (latency["p99_s"] is not None) == (latency["iterations"] >= 662)
    assert latency["threads"] == 1
    assert rows["source"]["latency"]["median_s"] > latency["median_s"]
    assert rows["source"]["memory"]["peak_bytes"] > rows["tflite-int8"]["memory"]["peak_bytes"] > 10_000_000


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_without_a_gpu_its_row_has_fidelity_and_no_latency(rows):
    row = rows["tf-gpu"]
    assert row["latency"] is None
    assert row["memory"] is None
    assert "no GPU on this device" in row["warnings"]
    assert row["fidelity"]["top1_agreement"] == 1


def test_the_optimizer_is_gone_and_nothing_else(rows):
    row = rows["saved-without-optimizer"]
    assert row["warnings"] == ["the optimizer took 480.6 kB of 806.8 kB"]
    assert row["fidelity"]["max_abs"] == 0
    assert row["fidelity"]["accuracy"] == 0.985


def test_every_artifact_verifies_until_it_is_changed(three, edgeopt):
    folder = three[3] / "dist" / "demo"
    for name in THREE:
        assert edgeopt.run("verify", folder / name)[0] == 0
    manifest = json.loads((folder / "tflite-int8" / "edgeopt.json").read_text())
    assert manifest["model"]["sha256"] == three[1]["model"]["sha256"]
    assert manifest["calibration"]["feeds"] == 200
    file = folder / "tflite-int8" / manifest["main"]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, out, _ = edgeopt.run("verify", folder / "tflite-int8")
    file.write_bytes(content)
    assert code == 8
    assert "model.tflite has changed" in out


def test_nothing_is_left_but_artifacts_logs_and_the_run(three):
    folder = three[3]
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "dist"]
    assert [path.name for path in (folder / "cache").iterdir()] == [FILE]
    assert {path.name for path in (folder / "dist" / "demo").iterdir()} == {
        *THREE,
        "logs",
        "profile-local.jsonl",
        "reference",
        "run.json",
    }


def test_progress_is_on_standard_error_and_libraries_are_in_the_logs(three):
    err = three[2]
    assert "tflite-int8: exported in" in err
    assert "WARNING" not in err
    assert "\x1b" not in err
    assert (three[3] / "dist" / "demo" / "logs" / "model.log").exists()


@pytest.mark.slow
def test_noise_a_budget_that_is_not_met_and_a_second_run_into_the_same_folder(edgeopt):
    (edgeopt.folder / "targets").mkdir()
    (edgeopt.folder / "targets" / "tight.toml").write_text(
        'backend = "tflite"\n[options]\nquantization = "int8"\n[budget]\nmax_size_bytes = 1000\nmin_sqnr_db = 1\n'
    )
    make_model(edgeopt.folder / "tiny.keras")
    for _ in range(2):
        code, run = edgeopt.json("export", "tiny.keras", "-t", "tight", *QUICK)
        assert code == 7
        row = run["results"][1]
        assert [(line["name"], line["met"]) for line in row["budget"]] == [
            ("max_size_bytes", False),
            ("min_sqnr_db", True),
        ]
    assert run["data"]["calibration"]["source"] == "noise"
    manifest = json.loads((edgeopt.folder / "dist" / "tiny" / "tight" / "edgeopt.json").read_text())
    assert manifest["calibration"]["source"] == "noise"
    shown = Run.from_json(json.dumps(run)).table(width=100)
    assert "calibrated on noise" in shown


MAKE = """
import sys, keras
keras.utils.set_random_seed(1)
layers = [keras.Input((8,), name="x"), keras.layers.Dense(16, "relu"), keras.layers.Dense(3, name="y")]
keras.Sequential(layers).save(sys.argv[1])
"""


def make_model(file):
    import sys

    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", MAKE, file], check=True, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.usefixtures("shared_import")
def test_a_model_in_memory_goes_through_the_library(tmp_path):
    import keras

    import edgeopt

    model = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(3, name="y")], name="my-net")
    run = edgeopt.export(model, "tflite-float32", out=tmp_path, seconds=0.1, min_iterations=30)
    assert [(row.target, row.status) for row in run.results] == [("source", "ok"), ("tflite-float32", "ok")]
    assert run.model.name == "my-net"
    assert run.model.chosen_by == "the program"
    assert "tflite-float32" in run.table(width=80)
    assert "<table" in run._repr_html_()
    assert (tmp_path / "my-net" / "tflite-float32" / "model.tflite").is_file()


def test_an_output_folder_that_cannot_be_written_to_is_bad_input(edgeopt):
    (edgeopt.folder / "dist").write_text("a file")
    code, out, err = edgeopt.run("export", "-t", "tflite-int8")
    assert (code, out) == (8, "")
    assert "the output folder" in err
    assert "hint: choose another folder with --out" in err


def test_a_full_disk_is_one_clear_line(edgeopt):
    disk = edgeopt.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        code, _, err = edgeopt.run("export", "-t", "tflite-int8", "--out", disk, *QUICK)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert code == 8
    assert "No space left on device" in err
    assert "hint: free some space" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_all_is_what_can_work_here_and_the_rest_are_rows_that_nobody_missed(edgeopt):
    edgeopt.environment["EDGEOPT_PLUGINS"] = "tflite,saved-without-optimizer,shy"
    edgeopt.install("shy", SHY)
    (edgeopt.folder / "targets").mkdir()
    (edgeopt.folder / "targets" / "shy.toml").write_text('backend = "shy"\n')
    chosen = ("export", "-t", "all", *QUICK)
    code, run = edgeopt.json(*chosen)
    rows = {row["target"]: row for row in run["results"]}
    assert (rows["shy"]["status"], rows["shy"]["error"]["message"]) == ("unavailable", "it is shy")
    assert rows["tflite-int8"]["status"] == "ok"
    assert "names no known backend: no backend is called 'tf-gpu'" in rows["tf-gpu"]["error"]["message"]
    assert code == 8  # for the targets of plugins that were left out
    assert edgeopt.json("export", "-t", "shy", *QUICK)[0] == 4


SHY = """
    from pathlib import Path
    from edgeopt.api import Backend, hookimpl

    class Shy(Backend):
        name = "shy"
        summary = "never works"
        runner = Path(__file__)

        @classmethod
        def unavailable(cls):
            return "it is shy"

        def export(self, request):
            raise NotImplementedError

    @hookimpl
    def edgeopt_backends():
        return [Shy]
"""


def test_without_timing_artifacts_are_exported_and_compared(edgeopt):
    command = ("export", "-t", "tflite-int8", "--no-timing", "--ops", "--min-agreement", "0.5", "--json", "run.json")
    edgeopt.parent = ""  # so that it has to wait for an import of its own
    durations = edgeopt.folder / "cache" / FILE
    durations.parent.mkdir()
    durations.write_text(json.dumps({IMPORT: 71.0, f"export {DEMO} for tflite-int8": 31.0}))
    code, out, err = edgeopt.run(*command)
    assert code == 0, err
    assert {"model: importing TensorFlow, about 71 s", "tflite-int8: exporting, about 31 s"} <= set(err.splitlines())
    assert 0 < json.loads(durations.read_text())[IMPORT] < 70, "what it took this time"
    assert "nothing is timed; without effect: --ops" in err
    assert not {"latency", "speed-up", "not timed"} & set(out.replace("\n", "  ").split("  "))
    run = json.loads((edgeopt.folder / "run.json").read_text())
    assert (run["untimed"], run["ranking"], run["control"]) == ("--no-timing", None, None)
    source, row = run["results"]
    assert (source["status"], source["latency"], row["status"], row["latency"]) == ("ok", None, "ok", None)
    assert row["fidelity"]["top1_agreement"] > 0.9
    # The bound is a budget of each artifact, since there is no ranking.
    assert row["budget"] == [
        {"name": "min_top1_agreement", "limit": 0.5, "value": row["fidelity"]["top1_agreement"], "met": True}
    ]
    assert (edgeopt.folder / "dist/demo/tflite-int8/edgeopt.json").exists()
