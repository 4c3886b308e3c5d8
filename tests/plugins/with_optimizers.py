"""Models with optimizer state in every format, for the tests of a backend that removes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CUSTOM = """
import keras

@keras.saving.register_keras_serializable("doubles")
class Doubles(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = keras.layers.Dense(4), keras.layers.Dense(2)

    def compile(self):
        super().compile()
        self.first_optimizer, self.second_optimizer = keras.optimizers.Adam(), keras.optimizers.SGD()

    def call(self, x):
        return self.second(self.first(x))
"""


def conv(library: Any) -> Any:
    layers = library.layers
    stack = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(5, activation="softmax")]
    return library.Sequential([library.Input((8, 8, 3)), *stack])


def with_adam(model: Any, library: Any) -> Any:
    """Compile the model and give it the state that training would leave."""
    model.compile(library.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    for number, variable in enumerate(model.optimizer.variables):
        if len(variable.shape):
            variable.assign(np.full(variable.shape, number, "float32"))
    return model


def nested(keras: Any) -> Any:
    """A compiled model inside a compiled model, with a layer that is called `optimizer` and two named outputs."""
    inner = with_adam(conv(keras), keras)
    given = keras.Input((8, 8, 3), name="image")
    hidden = keras.layers.Dense(3, name="optimizer")(inner(given))
    outputs = {"score": hidden, "class": keras.layers.Dense(2)(hidden)}
    return with_adam(keras.Model({"image": given}, outputs), keras)


def listed(keras: Any) -> Any:
    given = [keras.Input((3,), name="b-1"), keras.Input((3,), name="a", dtype="int32")]
    joined = keras.layers.Concatenate()(given)
    outputs = [keras.layers.Dense(2, name="second")(joined), keras.layers.Dense(4, name="first")(joined)]
    return with_adam(keras.Model(given, outputs), keras)


def build_files(folder: Path) -> None:
    """Write the Keras files under test."""
    import keras
    import tf_keras

    trained = conv(keras)
    trained.compile("adam", "mse")
    trained.fit(np.ones((2, 8, 8, 3)), np.ones((2, 5)), verbose=0)
    trained.save(folder / "trained.keras")
    trained.save(folder / "trained.h5")
    conv(keras).save(folder / "plain.keras")
    conv(keras).save(folder / "plain.h5")
    nested(keras).save(folder / "nested.keras")
    nested(keras).save(folder / "nested.h5")
    listed(keras).save(folder / "listed.keras")
    given = tf_keras.Input((8, 8, 3), name="image")
    old = tf_keras.layers.Dense(3)(tf_keras.layers.Flatten()(tf_keras.layers.DepthwiseConv2D(3)(given)))
    with_adam(tf_keras.Model(given, old), tf_keras).save(folder / "keras2.h5")


def build_folders(folder: Path) -> None:
    """Write the SavedModels under test."""
    import keras
    import tensorflow as tf
    import tf_keras

    with_adam(conv(keras), keras).export(folder / "exported", verbose=False)
    given = tf_keras.Input((8, 8, 3))
    outer = tf_keras.Model(given, tf_keras.layers.Dense(3)(with_adam(conv(tf_keras), tf_keras)(given)))
    outer.compile(tf_keras.optimizers.legacy.Adam(), "mse")
    outer.fit(np.ones((2, 8, 8, 3)), np.ones((2, 3)), verbose=0)
    outer.save(folder / "keras2", save_format="tf")
    module = trainable(folder)
    tf.saved_model.save(module, str(folder / "module"), {"serving_default": module.ask, "again": module.ask})
    tf.saved_model.save(module, str(folder / "training"), {"serving_default": module.ask, "train": module.train})
    build_tensorflow1(folder / "tensorflow1")


def trainable(folder: Path) -> Any:
    """A module with an optimizer under an odd name, a function that trains, a table and an asset."""
    import tensorflow as tf
    import tf_keras

    words = folder / "words.txt"
    words.write_text("p\nq\n")

    class Trainable(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(np.ones((6, 3), "float32"))
            self.descent = tf_keras.optimizers.Adam()
            self.descent.build([self.kernel])
            self.asset = tf.saved_model.Asset(str(words))
            lines = tf.lookup.TextFileInitializer(self.asset, tf.string, -2, tf.int64, -1)
            self.table = tf.lookup.StaticHashTable(lines, -1)

        @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name="x")])
        def ask(self, x: Any) -> Any:
            found = tf.cast(self.table.lookup(tf.constant(["q"])), tf.float32)
            return {"y": x @ self.kernel + tf.reshape(found, (1,))}

        @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name="x")])
        def train(self, x: Any) -> Any:
            self.descent.apply_gradients([(tf.ones((6, 3)) * tf.reduce_mean(x), self.kernel)])
            return {"loss": tf.reduce_sum(self.kernel)}

    return Trainable()


def build_tensorflow1(folder: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 2), name="x")
        y = x @ tf.compat.v1.get_variable("kernel", (2, 2), use_resource=True)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
