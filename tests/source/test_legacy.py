import subprocess
import sys

import numpy as np
import pytest

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError, ExportError
from edgeopt.source import legacy

pytest.importorskip("tf_keras", reason="Keras 2 comes with the extra `legacy`")

WRITE = """
import sys
from pathlib import Path
import numpy as np
import tf_keras as keras

folder = Path(sys.argv[1])
keras.utils.set_random_seed(0)
image = keras.Input((6, 6, 3), name="image")
scaled = keras.layers.Rescaling(1 / 255)(image)
pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.DepthwiseConv2D(3)(scaled))
model = keras.Model(image, keras.layers.Dense(3, name="head/answer")(pooled))
model.save(folder / "depthwise.h5")
feed = np.random.default_rng(0).uniform(0, 255, (1, 6, 6, 3)).astype("float32")
np.savez(folder / "depthwise.npz", feed=feed, answer=model(feed))

keras.mixed_precision.set_global_policy("mixed_float16")
sound, ids = keras.Input((None, 3), name="sound"), keras.Input((2,), dtype="int32", name="ids")
state = keras.layers.LSTM(4, name="state")(sound) * 2.0
word = keras.layers.Flatten(name="word")(keras.layers.Embedding(9, 2)(ids))
keras.Model({"sound": sound, "ids": ids}, {"word": word, "state": state}).save(folder / "recurrent.h5")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Files that Keras 2 wrote and Keras 3 cannot read."""
    folder = tmp_path_factory.mktemp("keras2")
    subprocess.run([sys.executable, "-W", "ignore", "-c", WRITE, folder], check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_a_file_that_keras_3_cannot_read(open_model, written):
    source = open_model(written / "depthwise.h5")
    assert (source.format, source.path) == ("h5", written / "depthwise.h5")
    assert source.inputs == (TensorSpec("image", (1, 6, 6, 3), "float32"),)
    assert source.outputs == (TensorSpec("head_answer", (1, 3), "float32"),)
    assert source.ranges == {"image": (0.0, 255.0)}
    with np.load(written / "depthwise.npz") as recorded:
        np.testing.assert_allclose(source.infer({"image": recorded["feed"]})["head_answer"], recorded["answer"], 1e-5)
    with pytest.raises(ExportError) as caught:
        source.keras()
    assert caught.value.message == f"{source.path} was written by Keras 2, and only Keras 2 can load it"


@pytest.mark.slow
def test_dictionaries_mixed_precision_operators_and_variable_length(open_model, to_tflite, written):
    source = open_model(written / "recurrent.h5", input_shapes=["sound=5,3"])
    assert source.inputs == (TensorSpec("ids", (1, 2), "int32"), TensorSpec("sound", (1, 5, 3), "float32"))
    assert source.outputs == (TensorSpec("state", (1, 4), "float32"), TensorSpec("word", (1, 4), "float32"))
    assert source.ranges == {"ids": (0.0, 8.0), "sound": (-1.0, 1.0)}
    assert source.warnings == ("trained in mixed precision; exported in float32",)
    feed = {"ids": np.array([[3, 8]], np.int32), "sound": np.ones((1, 5, 3), np.float32)}
    wanted, found = source.infer(feed), to_tflite(source, feed)
    for name in ("state", "word"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


def test_an_error_in_the_child_is_an_error_here(open_model, written):
    with pytest.raises(BadInputError) as caught:
        open_model(written / "recurrent.h5")
    assert caught.value.message == "the input 'sound' has unknown dimensions: [?,?,3]"
    assert caught.value.hint == "give them without the batch: --input-shape sound=N,3"


def test_without_keras_2_the_error_names_the_extra(open_model, written, monkeypatch):
    monkeypatch.setattr(legacy.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInputError) as caught:
        open_model(written / "depthwise.h5")
    assert caught.value.message == f"{written / 'depthwise.h5'} was written by Keras 2 and Keras 3 cannot read it"
    assert caught.value.hint == 'pip install "edgeopt[legacy]"'
