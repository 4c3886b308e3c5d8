import json

import numpy as np
import pytest

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError, ExportError
from edgeopt.source.choice import resolve_source
from edgeopt.source.model import open_source

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras with NumPy 2.4
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
    pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built"),
]


@pytest.fixture(scope="module")
def small():
    """A compiled and trained model, so that its file carries optimizer state."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [keras.Input((4, 4, 3), name="image"), layers.Conv2D(8, 3), layers.Flatten()], name="small"
    )
    model.add(layers.Dense(3, name="answer"))
    model.compile("adam", "mse")
    model.fit(np.ones((2, 4, 4, 3)), np.ones((2, 3)), verbose=0)
    return model


@pytest.fixture
def feed():
    return {"image": np.random.default_rng(0).random((1, 4, 4, 3), np.float32)}


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_keras_file(open_model, small, feed, ending, tmp_path):
    before = (tmp_path / "model").with_suffix(ending)
    source = open_model(small, ending=ending)
    content = before.read_bytes()
    assert (source.name, source.format, source.path) == ("model", ending[1:], before)
    assert source.inputs == (TensorSpec("image", (1, 4, 4, 3), "float32"),)
    assert source.outputs == (TensorSpec("answer", (1, 3), "float32"),)
    assert source.ranges == {"image": (-1.0, 1.0)}
    assert source.warnings == ()
    np.testing.assert_allclose(source.infer(feed)["answer"], small.predict(feed["image"], verbose=0), atol=1e-6)
    assert source.keras() is source.keras()
    assert not source.keras().compiled
    assert before.read_bytes() == content
    assert sorted(item.name for item in tmp_path.iterdir()) == [before.name, "workspace"]


def test_the_saved_model_holds_each_weight_once_and_nothing_else(open_model, small, feed):
    import tensorflow as tf

    folder = open_model(small).saved_model()
    variables = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    stored = [tuple(shape) for shape in variables.get_variable_to_shape_map().values() if shape]
    assert sorted(stored) == sorted(tuple(weight.shape) for weight in small.weights)
    loaded = tf.saved_model.load(str(folder))
    assert list(loaded.signatures) == ["serving_default"]
    answer = loaded.signatures["serving_default"](image=tf.constant(feed["image"]))["answer"]
    np.testing.assert_allclose(answer, small.predict(feed["image"], verbose=0), atol=1e-6)


def test_a_second_worker_does_not_load_the_model_again(open_model, small, feed, workspace, tmp_path):
    first = open_model(small)
    (tmp_path / "model.keras").rename(tmp_path / "elsewhere.keras")
    choice = resolve_source(str(tmp_path / "elsewhere.keras"))
    second = open_source(choice, workspace)
    assert (second.inputs, second.outputs, second.ranges) == (first.inputs, first.outputs, first.ranges)
    assert second.saved_model() == first.saved_model()
    (tmp_path / "elsewhere.keras").unlink()
    np.testing.assert_allclose(second.infer(feed)["answer"], first.infer(feed)["answer"], atol=1e-6)


def test_what_backends_share_lies_apart_from_what_the_source_made(open_model, small):
    source = open_model(small)
    built = source.once("normalised", lambda folder: (folder / "mine").touch())
    assert [item.name for item in built.iterdir()] == ["mine"]
    assert (source.saved_model() / "saved_model.pb").is_file()


def test_the_batch(open_model, small):
    source = open_model(small, batch=3)
    assert source.inputs[0].shape == (3, 4, 4, 3)
    assert source.outputs[0].shape == (3, 3)


def test_dictionaries_keep_their_keys_and_are_ordered_by_name(open_model):
    import keras
    from keras import layers

    number, ids = keras.Input((2,), name="numbers"), keras.Input((3,), dtype="int32", name="ids")
    word = layers.Flatten()(layers.Embedding(10, 2)(ids))
    outputs = {"z": layers.Dense(2)(number), "an-other": layers.Dense(1)(word)}
    model = keras.Model({"numbers": number, "ids": ids}, outputs)
    source = open_model(model)
    assert source.inputs == (TensorSpec("ids", (1, 3), "int32"), TensorSpec("numbers", (1, 2), "float32"))
    assert source.outputs == (TensorSpec("an_other", (1, 1), "float32"), TensorSpec("z", (1, 2), "float32"))
    assert source.ranges == {"ids": (0.0, 9.0), "numbers": (-1.0, 1.0)}
    feed = {"ids": np.array([[1, 2, 3]], np.int32), "numbers": np.array([[0.5, -1.0]], np.float32)}
    wanted = model(feed)
    np.testing.assert_allclose(source.infer(feed)["z"], wanted["z"], atol=1e-6)
    np.testing.assert_allclose(source.infer(feed)["an_other"], wanted["an-other"], atol=1e-6)


def test_lists_get_the_names_of_layers(open_model):
    import keras
    from keras import layers

    one, two = keras.Input((2,), name="two"), keras.Input((3,), name="one")
    twice = layers.Dense(2, name="twice")
    model = keras.Model([one, two], [layers.Dense(1, name="once")(two), twice(one), twice(twice(one))])
    source = open_model(model)
    assert [(spec.name, spec.shape) for spec in source.inputs] == [("one", (1, 3)), ("two", (1, 2))]
    assert [(spec.name, spec.shape) for spec in source.outputs] == [
        ("once", (1, 1)), ("twice", (1, 2)), ("twice_1", (1, 2)),
    ]  # fmt: skip
    feed = {"two": np.array([[0.5, -1.0]], np.float32), "one": np.array([[1, 2, 3]], np.float32)}
    wanted = model([feed["two"], feed["one"]])
    for name, value in zip(["once", "twice", "twice_1"], wanted, strict=True):
        np.testing.assert_allclose(source.infer(feed)[name], value, atol=1e-6)


def test_a_name_that_had_to_change_is_told(open_model):
    import keras

    number = keras.Input((2,), name="in-1")
    source = open_model(keras.Model({"in-1": number}, keras.layers.Dense(1, name="lambda")(number)))
    assert source.inputs[0].name == "in_1"
    assert source.outputs[0].name == "lambda"
    assert source.warnings == ("the input 'in-1' is called in_1 from here on",)


def test_recurrent_layers_of_variable_length_convert(open_model, to_tflite):
    import keras
    from keras import layers

    sound = keras.Input((None, 3), name="sound")
    model = keras.Model(sound, layers.GRU(2, name="gru")(layers.LSTM(4, return_sequences=True)(sound)))
    with pytest.raises(BadInputError, match="has unknown dimensions") as caught:
        open_model(model)
    assert caught.value.hint == "give them without the batch: --input-shape N,3"
    source = open_model(model, input_shapes=["5,3"])
    assert source.inputs == (TensorSpec("sound", (1, 5, 3), "float32"),)
    feed = {"sound": np.random.default_rng(0).random((1, 5, 3), np.float32)}
    np.testing.assert_allclose(to_tflite(source, feed)["gru"], model(feed["sound"]), atol=1e-5)


def test_a_small_transformer(open_model, to_tflite):
    import keras
    from keras import layers

    ids = keras.Input((6,), dtype="int32", name="ids")
    words = layers.Embedding(20, 8)(ids)
    mixed = layers.LayerNormalization()(words + layers.MultiHeadAttention(2, 4)(words, words))
    model = keras.Model(ids, layers.Dense(2, name="answer")(layers.GlobalAveragePooling1D()(mixed)))
    source = open_model(model)
    assert source.ranges == {"ids": (0.0, 19.0)}
    feed = {"ids": np.array([[1, 5, 19, 0, 3, 2]], np.int32)}
    np.testing.assert_allclose(to_tflite(source, feed)["answer"], model(feed["ids"]), atol=1e-5)


def test_a_lookup_table_is_kept(open_model):
    import keras
    from keras import layers

    lookup = layers.IntegerLookup(vocabulary=[3, 5, 7])
    model = keras.Sequential(
        [keras.Input((2,), dtype="int64", name="ids"), lookup, layers.Embedding(5, 2, name="word")]
    )
    source = open_model(model)
    feed = {"ids": np.array([[5, 9]], np.int64)}
    wanted = model(feed["ids"])
    second = open_source(resolve_source(str(source.path)), source.saved_model().parents[2])
    for opened in (source, second):
        np.testing.assert_allclose(opened.infer(feed)["word"], wanted, atol=1e-6)


def test_a_subclassed_model_that_is_registered(open_model, tmp_path, monkeypatch):
    (tmp_path / "registered_model.py").write_text("""
import keras

@keras.saving.register_keras_serializable("tests")
class TwoHeads(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.left, self.right = keras.layers.Dense(3), keras.layers.Dense(2)

    def call(self, picture):
        return {"left": self.left(picture), "right": self.right(picture)}
""")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import registered_model

    model = registered_model.TwoHeads()
    picture = np.ones((2, 4), np.float32)
    model(picture)
    source = open_model(model, custom_modules=["registered_model"])
    assert source.inputs == (TensorSpec("picture", (1, 4), "float32"),)
    assert source.outputs == (TensorSpec("left", (1, 3), "float32"), TensorSpec("right", (1, 2), "float32"))
    np.testing.assert_allclose(source.infer({"picture": picture[:1]})["left"], model(picture)["left"][:1], atol=1e-6)


def test_a_model_that_never_knew_its_input(open_model):
    import keras

    with pytest.raises(BadInputError, match="was saved before it knew its input, so the file holds no weights"):
        open_model(keras.Sequential([keras.layers.Dense(3)]))


def test_an_output_whose_size_depends_on_the_values(open_model):
    import keras

    @keras.saving.register_keras_serializable("tests")
    class Positive(keras.layers.Layer):
        def call(self, values):
            import tensorflow as tf

            return tf.boolean_mask(values, values > 0)

        def compute_output_shape(self, shape):
            return (None,)

    numbers = keras.Input((3,))
    with pytest.raises(BadInputError, match="the size of the output 'positive' depends on the values that go in"):
        open_model(keras.Model(numbers, Positive()(numbers)))


def test_a_shape_that_the_model_cannot_take_is_one_line(open_model):
    import keras

    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(2, 5)(image))
    with pytest.raises(BadInputError, match=r"the model does not run on inputs image \[1, 2, 2, 3\]: ") as caught:
        open_model(model, input_shapes=["2,2,3"])
    assert "\n" not in caught.value.message


def test_a_bad_model_leaves_nothing_behind(open_model, workspace):
    import keras

    with pytest.raises(BadInputError):
        open_model(keras.Sequential([keras.layers.Dense(3)]))
    assert [item.name for item in (workspace / "source").iterdir()] == ["normalised.lock"]


def test_the_spec_is_plain_json(open_model, small):
    spec = json.loads((open_model(small).saved_model().parent / "spec.json").read_text("utf-8"))
    assert spec == {
        "inputs": [{"name": "image", "shape": [1, 4, 4, 3], "dtype": "float32"}],
        "outputs": [{"name": "answer", "shape": [1, 3], "dtype": "float32"}],
        "ranges": {"image": [-1.0, 1.0]},
        "warnings": [],
    }


@pytest.mark.shared
def test_a_saved_model_has_no_keras_model(open_model, shared):
    source = open_model(shared / "models" / "mlperf_tiny_kws" / "kws_ref_model")
    with pytest.raises(ExportError, match="is a SavedModel, and this needs a Keras model"):
        source.keras()
