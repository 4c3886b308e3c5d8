"""Recurrent layers in the onnxruntime backend: loops that become operators, and those that must stay loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")

from edgeopt_onnxruntime import conversion  # noqa: E402
from edgeopt_onnxruntime.operators import read_operators  # noqa: E402
from tests.plugins.test_onnxruntime import Bench, open_bench, sqnr_db  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
KINDS = ("GRU", "LSTM", "Loop", "RNN")
Make = Callable[[], Any]


def over(*stack: Callable[[Any], Any]) -> Any:
    """Some layers over a sequence of 6 steps, each made when its turn comes."""
    from keras import Input, Sequential, layers

    made = [make(layers) for make in stack]
    return Sequential([Input((6, 4), name="sequence"), *made, layers.Flatten(), layers.Dense(3)])


def continued() -> Any:
    """The second layer goes on from the last states of the first; these are outputs as well."""
    from keras import Input, Model, layers

    given = Input((6, 4), name="sequence")
    stack, out, cell = layers.LSTM(8, return_sequences=True, return_state=True)(given)
    second = layers.LSTM(8, return_sequences=True)(stack, initial_state=[out, cell])
    return Model(given, {"stack": second, "out": out, "cell": cell})


def shared() -> Any:
    """Two LSTMs with the same weights."""
    from keras import Input, Model, layers

    given, layer = Input((6, 4), name="sequence"), layers.LSTM(4, return_sequences=True)
    return Model(given, layers.Dense(3)(layers.Flatten()(layer(layer(given)))))


FUSED: dict[str, tuple[Make, tuple[str, ...]]] = {
    "lstm": (lambda: over(lambda layers: layers.LSTM(8)), ("LSTM",)),
    "gru": (lambda: over(lambda layers: layers.GRU(8)), ("GRU",)),
    "gru-reset-before": (lambda: over(lambda layers: layers.GRU(8, reset_after=False)), ("GRU",)),
    "plain": (lambda: over(lambda layers: layers.SimpleRNN(8)), ("RNN",)),
    "without-bias": (lambda: over(lambda layers: layers.LSTM(8, use_bias=False)), ("LSTM",)),
    "gru-without-bias": (lambda: over(lambda layers: layers.GRU(8, use_bias=False)), ("GRU",)),
    "relu": (lambda: over(lambda layers: layers.LSTM(8, activation="relu")), ("LSTM",)),
    "one-unit": (lambda: over(lambda layers: layers.GRU(1)), ("GRU",)),
    "sequences": (lambda: over(lambda layers: layers.GRU(8, return_sequences=True)), ("GRU",)),
    "backwards": (lambda: over(lambda layers: layers.LSTM(8, go_backwards=True, return_sequences=True)), ("LSTM",)),
    "bidirectional": (lambda: over(lambda layers: layers.Bidirectional(layers.GRU(8))), ("GRU", "GRU")),
    "stacked": (
        lambda: over(lambda layers: layers.LSTM(8, return_sequences=True), lambda layers: layers.GRU(8)),
        ("LSTM", "GRU"),
    ),
    "continued": (continued, ("LSTM", "LSTM")),
    "shared": (shared, ("LSTM", "LSTM")),
}
UNFUSED: dict[str, Make] = {
    "hard": lambda: over(lambda layers: layers.GRU(8, recurrent_activation="hard_sigmoid")),
    "masked": lambda: over(lambda layers: layers.Masking(0.0), lambda layers: layers.LSTM(8)),
    "two-cells": lambda: over(lambda layers: layers.RNN([layers.LSTMCell(8), layers.LSTMCell(8)])),
}


def randomised(model: Any) -> Any:
    """The same model with biases that are not all zero, so that each must be in its place."""
    rng = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.4))
    return model


def bench_of(make: Make, folder: Any, batch: int = 1) -> Bench:
    rng = np.random.default_rng(3)
    feeds = [{"sequence": rng.normal(size=(batch, 6, 4)).astype("float32")} for _ in range(32)]
    return open_bench(randomised(make()), feeds, folder, batch=batch)


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


def stepping(goes_on: Callable[[Any, Any], Any]) -> Any:
    """A plain recurrent layer that no Keras made, which goes on while `goes_on` says so."""
    import tensorflow as tf

    class Stepping(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            rng = np.random.default_rng(1)
            self.step = tf.Variable(rng.normal(size=(4, 8)).astype("float32"))
            self.state = tf.Variable(rng.normal(size=(8, 8), scale=0.3).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((6, 1, 4), tf.float32, name="sequence")])
        def __call__(self, sequence: Any) -> dict[str, Any]:
            def body(i: Any, state: Any) -> Any:
                return i + 1, tf.tanh(tf.gather(sequence, i) @ self.step + state @ self.state)

            return {"state": tf.while_loop(goes_on, body, (0, tf.zeros((1, 8))), maximum_iterations=6)[1]}

    return Stepping()


@pytest.mark.parametrize(
    ("goes_on", "expected"),
    [
        (lambda i, _: i < 6, "RNN"),
        (lambda i, _: i < 4, "Loop"),
        (lambda i, state: (i < 6) & (state[0, 0] < 0.9), "Loop"),
    ],
)
def test_only_a_loop_over_the_whole_sequence_becomes_an_operator(goes_on, expected, tmp_path):
    rng = np.random.default_rng(3)
    feeds = [{"sequence": rng.normal(size=(6, 1, 4)).astype("float32")} for _ in range(8)]
    model = open_bench(stepping(goes_on), feeds, tmp_path)
    artifact = model.export(quantization="none")
    assert recurrent_operators(artifact.main) == [expected]
    assert sqnr_db(model.run(artifact), model.reference()) > 100


def test_an_operator_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    def wrong(model: Any) -> int:
        fused = fuse(model)
        (weights,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith("/R")]
        weights.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weights), weights.name))
        return fused

    fuse = conversion.fuse_loops
    monkeypatch.setattr(conversion, "fuse_loops", wrong)
    model = bench_of(FUSED["lstm"][0], tmp_path)
    said: list[str] = []
    file = conversion.make_float_file(model.source, model.calibration, said.append)
    assert recurrent_operators(file) == ["Loop"]
    assert any(each.startswith("the loops stay loops: the float32 file differs from the source") for each in said)


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
