"""The document: written, read back, and shown in one line."""

import json
from dataclasses import replace

import pytest

from edgeopt.report.schema import Run
from tests.report.conftest import INT8, SOURCE, fidelity

pytestmark = pytest.mark.quick


def test_what_is_written_is_read_back(run: Run) -> None:
    assert Run.from_json(run.to_json()) == run


def test_unknown_keys_of_a_newer_edgeopt_are_ignored(run: Run) -> None:
    document = json.loads(run.to_json())
    document["new"] = document["results"][0]["new"] = 1
    assert Run.from_json(json.dumps(document)) == run


def test_keys_of_schema_1(run: Run) -> None:
    document = json.loads(run.to_json())
    assert set(document) >= {"schema", "edgeopt", "started", "command", "model", "data", "device", "results"}
    assert document["schema"] == 1
    assert set(document["results"][2]["latency"]) >= {
        "median_s", "ci95_s", "mean_s", "min_s", "p90_s", "p99_s", "iterations", "rounds", "load_s", "first_s",
        "threads", "samples_s", "steady",
    }  # fmt: skip


def test_figures_that_json_cannot_hold_are_null(run: Run) -> None:
    row = replace(INT8, export_s=float("nan"), fidelity=fidelity(None, max_abs=float("inf")))
    text = replace(run, results=(SOURCE, row)).to_json()
    read = Run.from_json(text)
    assert json.loads(text)["results"][1]["export_s"] is None
    assert read.results[1].fidelity.max_abs is None
    assert "not finite" in read.table(200)


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": 2}'])
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an edgeopt run of schema 1"):
        Run.from_json(text)


def test_a_run_in_a_list_does_not_print_its_samples(run: Run) -> None:
    short = replace(run, results=(SOURCE, INT8))
    assert repr([short]) == "[<Run of 'mobilenet_v2': source ok, tflite-int8 ok>]"
    assert str(short) == short.table()
