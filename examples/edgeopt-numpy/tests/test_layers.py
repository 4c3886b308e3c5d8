"""What only this backend does: every layer that it knows, in one model, and a clear word about any other."""

import keras
import numpy as np
from keras import layers

import edgeopt


def build_everything():
    """Return a model with every layer and activation that the backend knows, three inputs and two outputs."""
    image, mask = keras.Input((16, 16, 3), name="image"), keras.Input((16, 16, 3), name="mask")
    words = keras.Input((3,), dtype="int32", name="words")
    x = layers.Rescaling([1 / 3, 1 / 4, 1 / 5], offset=[0.1, 0.2, 0.3])(image)
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.Conv2D(8, 3, strides=(2, 1), padding="same", activation="silu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Add()([x, layers.Conv2D(8, (3, 2), dilation_rate=2, padding="same", activation="relu6")(x)])
    x = layers.LeakyReLU()(layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.3)(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", strides=2, activation="elu")(x)
    pools = [layers.MaxPooling2D(3, 2, padding="same")(x), layers.AveragePooling2D(3, 2, padding="same")(x)]
    x = layers.GaussianNoise(0.1)(layers.SpatialDropout2D(0.1)(layers.Dropout(0.3)(layers.Concatenate()(pools))))
    whole = [layers.GlobalMaxPooling2D()(x), layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(x))]
    side = layers.Dense(4, activation="tanh", name="side")(layers.Concatenate()(whole))
    y = layers.Conv2D(32, 5, strides=6, activation="sigmoid")(layers.Multiply()([mask, mask]))
    y = layers.Softmax(axis=1)(layers.Reshape((-1, 4))(y))
    twice = layers.Dense(16, activation="relu")
    y = layers.Activation("relu")(layers.Dense(16)(layers.Flatten()(y)))
    y = layers.Concatenate()([twice(twice(y)), whole[0], layers.Flatten()(layers.Embedding(10, 4)(words))])
    return keras.Model([image, mask, words], [layers.Dense(5, activation="softmax", name="main")(y), side])


def test_every_layer(tmp_path):
    model = build_everything()
    rng = np.random.default_rng(1)
    # A variance must be positive; and away from zero, so that float16 changes little.
    model.set_weights([0.2 + 0.2 * np.abs(rng.normal(size=weight.shape)) for weight in model.get_weights()])
    run = edgeopt.export(model, ["numpy", "numpy-float16"], out=tmp_path, seconds=0.1)
    exact, half = run.results[1:]
    assert (exact.error, half.error) == (None, None)
    assert exact.fidelity.sqnr_db > 80
    assert half.fidelity.sqnr_db > 40


def test_a_layer_that_it_does_not_know_is_named(tmp_path):
    image = keras.Input((8,), name="image")
    model = keras.Model(image, layers.LayerNormalization(name="middle")(image))
    error = edgeopt.export(model, "numpy", out=tmp_path).results[1].error
    assert error.message == "the layer middle is a LayerNormalization, which NumPy is not taught here"
    assert error.hint.startswith("known: Activation, Add, ")
