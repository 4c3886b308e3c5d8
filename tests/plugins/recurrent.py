"""Recurrent models of many kinds: those that are one operator of a runtime, and those that must stay loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

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


def sequences(batch: int = 1, count: int = 32) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [{"sequence": rng.normal(size=(batch, 6, 4)).astype("float32")} for _ in range(count)]


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


STEPPING: tuple[tuple[Callable[[Any, Any], Any], bool], ...] = (
    (lambda i, _: i < 6, True),
    (lambda i, _: i < 4, False),
    (lambda i, state: (i < 6) & (state[0, 0] < 0.9), False),
)
"""When a loop of 6 steps at most goes on, and whether it takes the whole sequence whatever the data."""


def stepping_feeds() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [{"sequence": rng.normal(size=(6, 1, 4)).astype("float32")} for _ in range(8)]


def mistaken(_: Any) -> int:
    """In the place of `fuse_loops`: a mistake in working out a loop."""
    raise IndexError("no such output")


def converted(conversion: Any, fuse_loops: Any, model: Any, monkeypatch: Any) -> tuple[Any, list[str]]:
    """Return the float file that a backend makes with another `fuse_loops`, and what it says."""
    said: list[str] = []
    monkeypatch.setattr(conversion, "fuse_loops", fuse_loops)
    return conversion.make_float_file(model.source, model.calibration, said.append), said
