"""Tiny models of every kind that must convert, seeded; each comes with a function that draws one feed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def images(rng: np.random.Generator) -> dict[str, Any]:
    return {"image": rng.uniform(-1, 1, (1, 8, 8, 3)).astype("float32")}


def sequences(rng: np.random.Generator) -> dict[str, Any]:
    return {"sequence": rng.normal(size=(1, 6, 4)).astype("float32")}


def tokens(rng: np.random.Generator) -> dict[str, Any]:
    return {"tokens": rng.integers(0, 20, (1, 6), dtype="int32")}


def pairs(rng: np.random.Generator) -> dict[str, Any]:
    return {"image": images(rng)["image"], "tokens": tokens(rng)["tokens"]}


def conv() -> Any:
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((8, 8, 3), name="image"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, activation="relu6"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def recurrent(*kinds: str) -> Any:
    from keras import Input, Sequential, layers

    *lower, last = (getattr(layers, kind) for kind in kinds)
    stack = [*(layer(8, return_sequences=True) for layer in lower), last(8)]
    return Sequential([Input((6, 4), name="sequence"), *stack, layers.Dense(3)])


def iterating() -> Any:
    """A recurrent layer, and a loop that stays when that is unrolled."""
    import keras
    from keras import Input, Sequential, layers

    @keras.saving.register_keras_serializable("tiny")
    class Iterating(layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.fori_loop(0, 3, lambda _, state: keras.ops.tanh(state), x)

    return Sequential([Input((6, 4), name="sequence"), layers.GRU(8), Iterating(), layers.Dense(3)])


def variable_length() -> Any:
    from keras import Input, Sequential, layers

    return Sequential([Input((None, 4), name="sequence"), layers.GRU(8), layers.Dense(3)])


def bidirectional() -> Any:
    from keras import Input, Sequential, layers

    return Sequential([Input((6, 4), name="sequence"), layers.Bidirectional(layers.LSTM(8)), layers.Dense(3)])


def embedding_lstm() -> Any:
    """Two outputs, so that the unrolled model's must find their names again."""
    from keras import Input, Model, layers

    given = Input((6,), dtype="int32", name="tokens")
    hidden = layers.GRU(8)(layers.Embedding(20, 8)(given))
    return Model(given, {"score": layers.Dense(2)(hidden), "class": layers.Dense(3)(hidden)})


def captions() -> Any:
    """A recurrent model whose two inputs must find their places again."""
    from keras import Input, Model, layers

    image = Input((8, 8, 3), name="image")
    words = Input((6,), dtype="int32", name="tokens")
    read = layers.GRU(8)(layers.Embedding(20, 8)(words))
    joined = layers.Concatenate()([layers.GlobalAveragePooling2D()(image), read])
    return Model([words, image], layers.Dense(4)(joined))


def dictionaries() -> Any:
    from keras import Input, Model, layers

    image = Input((8, 8, 3), name="image")
    words = Input((6,), dtype="int32", name="tokens")
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(image))
    read = layers.Flatten()(layers.Embedding(20, 4)(words))
    joined = layers.Dense(16, activation="relu")(layers.Concatenate()([seen, read]))
    return Model(
        {"tokens": words, "image": image}, {"score": layers.Dense(1)(joined), "class": layers.Dense(4)(joined)}
    )


def gelu_tanh(x: Any) -> Any:
    from keras import activations

    return activations.gelu(x, approximate=True)


def transformer() -> Any:
    """One block with exact GELU and one with its approximation by tanh."""
    import keras
    from keras import Input, Model, layers

    given = Input((6,), dtype="int32", name="tokens")
    hidden = layers.Embedding(20, 16)(given)
    for activation in ("gelu", keras.saving.register_keras_serializable("tiny")(gelu_tanh)):
        normal = layers.LayerNormalization()(hidden)
        hidden = layers.Add()([hidden, layers.MultiHeadAttention(2, 8)(normal, normal)])
        wide = layers.Dense(32, activation=activation)(layers.LayerNormalization()(hidden))
        hidden = layers.Add()([hidden, layers.Dense(16)(wide)])
    return Model(given, layers.Dense(4)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden))))


def mixed(build: Callable[[], Any]) -> Any:
    """The same model, as mixed precision trains it."""
    import keras

    keras.config.set_dtype_policy("mixed_float16")
    try:
        return build()
    finally:
        keras.config.set_dtype_policy("float32")


def module() -> Any:
    """A model that no Keras made."""
    import tensorflow as tf

    class Perceptron(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            rng = np.random.default_rng(1)
            self.inner = tf.Variable(rng.normal(size=(24, 16)).astype("float32"))
            self.outer = tf.Variable(rng.normal(size=(16, 3)).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((None, 6, 4), tf.float32, name="sequence")])
        def __call__(self, sequence: Any) -> dict[str, Any]:
            hidden = tf.nn.relu(tf.reshape(sequence, (-1, 24)) @ self.inner)
            logits = hidden @ self.outer
            return {"logits": logits, "class": tf.argmax(logits, axis=-1)}

    return Perceptron()


def loop() -> Any:
    """A loop that no Keras made."""
    import tensorflow as tf

    class Loop(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(np.random.default_rng(3).normal(size=(40, 40), scale=0.1).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((1, 40), tf.float32, name="x")])
        def __call__(self, x: Any) -> dict[str, Any]:
            def body(i: Any, state: Any) -> Any:
                return i + 1, tf.tanh(state @ self.kernel + x)

            return {"state": tf.while_loop(lambda i, _: i < 5, body, (0, x))[1]}

    return Loop()


def odd() -> Any:
    """Two operators that TensorFlow Lite does not know."""
    import tensorflow as tf

    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 2, 2), tf.float32, name="x")])
        def __call__(self, x: Any) -> dict[str, Any]:
            return {"sum": tf.linalg.det(x) + tf.reduce_sum(tf.math.igamma(x, x))}

    return Odd()


def save(model: Any, folder: Path) -> Path:
    """Save the model as its user would, and return the file or folder."""
    import tensorflow as tf

    if hasattr(model, "layers"):
        path = folder / "model.keras"
        model.save(path)
    else:
        path = folder / "model"
        tf.saved_model.save(model, str(path), signatures=model.__call__.get_concrete_function())
    return path


MODELS: dict[str, tuple[Callable[[], Any], Callable[[np.random.Generator], dict[str, Any]]]] = {
    "conv": (conv, images),
    "lstm": (lambda: recurrent("LSTM"), sequences),
    "gru": (lambda: recurrent("GRU"), sequences),
    "stacked": (lambda: recurrent("LSTM", "GRU"), sequences),
    "bidirectional": (bidirectional, sequences),
    "embedding": (embedding_lstm, tokens),
    "captions": (captions, pairs),
    "dictionaries": (dictionaries, pairs),
    "transformer": (transformer, tokens),
    "module": (module, sequences),
    "mixed-conv": (lambda: mixed(conv), images),
    "mixed-lstm": (lambda: mixed(lambda: recurrent("LSTM")), sequences),
}
