import numpy as np
import pytest

from edgeopt.source.precision import float32_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2.4


@pytest.fixture
def half():
    """Let layers be made in a 16-bit policy while the context lasts."""
    from contextlib import contextmanager

    import keras

    @contextmanager
    def policy(name):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(name)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    return policy


def nested():
    import keras
    from keras import layers

    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()], name="inner")
    image = keras.Input((6, 6, 3), name="image")
    pooled = layers.GlobalAveragePooling2D()(inner(image))
    return keras.Model(image, layers.Activation("softmax", dtype="float32", name="answer")(layers.Dense(3)(pooled)))


def recurrent():
    import keras
    from keras import layers

    sound = keras.Input((5, 3), name="sound")
    states = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(sound)
    return keras.Model(sound, layers.GRU(3, name="answer")(layers.TimeDistributed(layers.Dense(2))(states)))


@pytest.mark.parametrize("build", [nested, recurrent])
def test_mixed_precision_comes_back_to_float32_and_converts(open_model, to_tflite, half, build):
    with half("mixed_float16"):
        model = build()
    source = open_model(model)
    assert source.warnings == ("trained in mixed precision; exported in float32",)
    assert {spec.dtype for spec in source.inputs + source.outputs} == {"float32"}
    feed = {source.inputs[0].name: np.random.default_rng(0).random(source.inputs[0].shape, np.float32)}
    wanted = np.asarray(model(next(iter(feed.values())))).astype(np.float32)
    np.testing.assert_allclose(source.infer(feed)["answer"], wanted, atol=5e-3)
    np.testing.assert_allclose(to_tflite(source, feed)["answer"], source.infer(feed)["answer"], atol=1e-5)
    assert source.keras().layers[-2].compute_dtype == "float16", "keras() gives the model as it was trained"


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_other_policies(open_model, half, policy):
    import keras

    with half(policy):
        model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2, name="answer")])
    source = open_model(model)
    assert {spec.dtype for spec in source.inputs + source.outputs} == {"float32"}
    assert source.warnings == ("trained in mixed precision; exported in float32",)


def test_only_dtypes_are_replaced():
    policy = {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}
    layer = {"name": "float16", "units": 3, "dtype": policy, "cells": [{"dtype": "bfloat16"}, {"dtype": "int32"}]}
    assert float32_config(layer) == {
        "name": "float16",
        "units": 3,
        "dtype": {"class_name": "DTypePolicy", "config": {"name": "float32"}},
        "cells": [{"dtype": "float32"}, {"dtype": "int32"}],
    }
