"""Recurrent layers in the onnxruntime backend: loops that become operators, and those that must stay loops."""

from __future__ import annotations

from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")

from edgeopt_onnxruntime import conversion  # noqa: E402
from edgeopt_onnxruntime.operators import read_operators  # noqa: E402
from tests.plugins.recurrent import (  # noqa: E402
    FUSED,
    STEPPING,
    UNFUSED,
    Make,
    converted,
    mistaken,
    over,
    randomised,
    sequences,
    stepping,
    stepping_feeds,
)
from tests.plugins.test_onnxruntime import Bench, open_bench, sqnr_db  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
KINDS = ("GRU", "LSTM", "Loop", "RNN")


def bench_of(make: Make, folder: Any, batch: int = 1) -> Bench:
    return open_bench(randomised(make()), sequences(batch), folder, batch=batch)


def recurrent_operators(file: Any) -> list[str]:
    return [node.op_type for node in onnx.load(file).graph.node if node.op_type in KINDS]


@pytest.mark.parametrize(
    ("name", "batch"), [*((name, 1) for name in FUSED), *((name, 2) for name in ("gru", "one-unit", "stacked"))]
)
def test_a_recurrent_layer_becomes_one_operator(name, batch, tmp_path):
    make, expected = FUSED[name]
    model = bench_of(make, tmp_path, batch)
    artifact = model.export(quantization="none")
    assert sorted(recurrent_operators(artifact.main)) == sorted(expected)
    assert sqnr_db(model.run(artifact), model.reference()) > 100


@pytest.mark.parametrize("name", UNFUSED)
def test_what_is_no_such_operator_stays_a_loop(name, tmp_path):
    model = bench_of(UNFUSED[name], tmp_path)
    artifact = model.export(quantization="none")
    assert recurrent_operators(artifact.main) == ["Loop"]
    assert sqnr_db(model.run(artifact), model.reference()) > 100


@pytest.mark.parametrize(("goes_on", "whole"), STEPPING)
def test_only_a_loop_over_the_whole_sequence_becomes_an_operator(goes_on, whole, tmp_path):
    model = open_bench(stepping(goes_on), stepping_feeds(), tmp_path)
    artifact = model.export(quantization="none")
    assert recurrent_operators(artifact.main) == ["RNN" if whole else "Loop"]
    assert sqnr_db(model.run(artifact), model.reference()) > 100


def test_an_operator_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    def wrong(model: Any) -> int:
        fused = fuse(model)
        (weights,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith("/R")]
        weights.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weights), weights.name))
        return fused

    fuse = conversion.fuse_loops
    file, said = converted(conversion, wrong, bench_of(FUSED["lstm"][0], tmp_path), monkeypatch)
    assert recurrent_operators(file) == ["Loop"]
    assert any(each.startswith("the loops stay loops: the float32 file differs from the source") for each in said)


def test_a_mistake_in_working_out_a_loop_costs_no_export(tmp_path, monkeypatch):
    file, said = converted(conversion, mistaken, bench_of(FUSED["lstm"][0], tmp_path), monkeypatch)
    assert recurrent_operators(file) == ["Loop"]
    assert said[-1] == "the loops stay loops: no such output"


@pytest.mark.parametrize(("name", "batch"), [("lstm", 1), ("continued", 1), ("shared", 2)])
def test_an_lstm_is_quantized(name, batch, tmp_path):
    make, expected = FUSED[name]
    model = bench_of(make, tmp_path, batch)
    for wanted in ("int8", "dynamic-int8"):
        artifact = model.export(quantization=wanted)
        names = read_operators(artifact.main).names
        assert names.count("DynamicQuantizeLSTM") == expected.count("LSTM")
        assert "LSTM" not in names
        assert sqnr_db(model.run(artifact), model.reference()) > 25


def test_an_lstm_takes_a_quarter_of_the_space(tmp_path):
    model = bench_of(lambda: over(lambda layers: layers.LSTM(64)), tmp_path)
    sizes = [model.export(quantization=wanted).main.stat().st_size for wanted in ("int8", "none")]
    assert sizes[0] < 0.35 * sizes[1]
