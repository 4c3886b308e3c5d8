"""Recurrent layers in the openvino backend: loops that become operators, and those that must stay loops."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from edgeopt_openvino import conversion
from edgeopt_openvino.proof import FLOAT_ON_ARM
from edgeopt_openvino.toolkit import openvino
from tests.plugins.recurrent import (
    FUSED,
    STEPPING,
    UNFUSED,
    Make,
    converted,
    mistaken,
    randomised,
    sequences,
    stepping,
    stepping_feeds,
)
from tests.plugins.test_openvino import Bench, open_bench, sqnr_db

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
KINDS = ("GRUSequence", "LSTMSequence", "Loop", "RNNSequence")


def bench_of(make: Make, folder: Any, batch: int = 1) -> Bench:
    return open_bench(randomised(make()), sequences(batch), folder, batch=batch)


def recurrent_operators(file: Any) -> list[str]:
    found = [operator.get_type_name() for operator in openvino().Core().read_model(str(file)).get_ordered_ops()]
    return [name for name in found if name in KINDS]


@pytest.mark.parametrize(
    ("name", "batch"), [*((name, 1) for name in FUSED), *((name, 2) for name in ("lstm", "one-unit", "stacked"))]
)
def test_a_recurrent_layer_becomes_one_operator(name, batch, tmp_path):
    make, expected = FUSED[name]
    model = bench_of(make, tmp_path, batch)
    artifact = model.export()
    assert Counter(recurrent_operators(artifact.main)) == Counter(f"{kind}Sequence" for kind in expected)
    assert sqnr_db(model.run(artifact), model.reference()) > 100


@pytest.mark.parametrize("name", UNFUSED)
def test_what_is_no_such_operator_stays_a_loop(name, tmp_path):
    model = bench_of(UNFUSED[name], tmp_path)
    artifact = model.export()
    assert recurrent_operators(artifact.main) == ["Loop"]
    assert sqnr_db(model.run(artifact), model.reference()) > 100


@pytest.mark.parametrize(("goes_on", "whole"), STEPPING)
def test_only_a_loop_over_the_whole_sequence_becomes_an_operator(goes_on, whole, tmp_path):
    model = open_bench(stepping(goes_on), stepping_feeds(), tmp_path)
    artifact = model.export()
    assert recurrent_operators(artifact.main) == ["RNNSequence" if whole else "Loop"]
    assert sqnr_db(model.run(artifact), model.reference()) > 100


def test_an_operator_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    def wrong(model: Any) -> int:
        fused = fuse(model)
        (layer,) = [each for each in model.get_ordered_ops() if each.get_type_name() == "LSTMSequence"]
        weights = layer.input_value(5).get_node()
        layer.input(5).replace_source_output(openvino().opset13.constant(-weights.data).output(0))
        return fused

    fuse = conversion.fuse_loops
    file, said = converted(conversion, wrong, bench_of(FUSED["lstm"][0], tmp_path), monkeypatch)
    assert recurrent_operators(file) == ["Loop"]
    assert any(each.startswith("the loops stay loops: the OpenVINO model differs from the source") for each in said)


def test_a_mistake_in_working_out_a_loop_costs_no_export(tmp_path, monkeypatch):
    file, said = converted(conversion, mistaken, bench_of(FUSED["lstm"][0], tmp_path), monkeypatch)
    assert recurrent_operators(file) == ["Loop"]
    assert said[-1] == "the loops stay loops: no such output"


def test_a_recurrent_layer_stays_float_in_int8(tmp_path):
    """In integers an LSTM loses 20 dB."""
    model = bench_of(FUSED["stacked"][0], tmp_path)
    artifact = model.export("int8")
    assert artifact.warnings[1:] == (
        "2 of 3 matrix operators stay float32 (GRUSequence, LSTMSequence)",
        FLOAT_ON_ARM,
    )
    assert sqnr_db(model.run(artifact), model.reference()) > 25
