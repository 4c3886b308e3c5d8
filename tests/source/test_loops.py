import numpy as np
import pytest

from edgeopt.contract import TensorSpec

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2.4


def test_recurrent_layers_that_keras_exported_for_any_batch_convert(open_model, to_tflite, tmp_path):
    import keras
    from keras import layers

    sound = keras.Input((5, 3), name="sound")
    model = keras.Model(sound, layers.GRU(2)(layers.LSTM(4, return_sequences=True)(sound)))
    model.export(tmp_path / "exported", verbose=False)
    source = open_model(tmp_path / "exported")
    assert source.inputs == (TensorSpec("sound", (1, 5, 3), "float32"),)
    assert source.outputs == (TensorSpec("output_0", (1, 2), "float32"),)
    feed = {"sound": np.random.default_rng(0).random((1, 5, 3), np.float32)}
    np.testing.assert_allclose(to_tflite(source, feed)["output_0"], model(feed["sound"]), atol=1e-5)
    assert sorted(item.name for item in source.saved_model().parent.iterdir()) == ["saved_model", "spec.json"]


@pytest.mark.filterwarnings("ignore:.*___pyct_anno:DeprecationWarning")  # TensorFlow's autograph on Python 3.13
def test_lists_that_are_not_about_the_batch_stay_as_they_are(open_model, tmp_path):
    """The repair would break this one: its list holds rows of three, whatever the batch."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 4), name="x")])
    def windows(x):
        parts = tf.TensorArray(tf.float32, size=2, element_shape=(None, 4))
        for number in tf.range(2):
            parts = parts.write(number, tf.repeat(x, 3, axis=0) * tf.cast(number, tf.float32))
        return tf.reduce_sum(parts.stack(), axis=(0, 1), keepdims=False)[tf.newaxis]

    module = tf.Module()
    module.windows = windows
    tf.saved_model.save(module, str(tmp_path / "windows"), signatures=windows)
    source = open_model(tmp_path / "windows")
    x = np.array([[1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(source.infer({"x": x})["output_0"], x * 3)
