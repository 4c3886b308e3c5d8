import numpy as np
import pytest

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2.4


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a function of tensors, or several, as a SavedModel."""
    import tensorflow as tf

    def save(*specs, signatures=("serving_default",), function=lambda x: x * 2):
        module = tf.Module()
        module.function = tf.function(function, input_signature=specs)
        chosen = dict.fromkeys(signatures, module.function) or None
        tf.saved_model.save(module if chosen else tf.Module(), str(tmp_path / "saved"), signatures=chosen)
        return tmp_path / "saved"

    return save


def test_a_module_with_weights_and_two_inputs(open_model, to_tflite, tmp_path):
    import tensorflow as tf

    class Linear(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable(np.arange(8, dtype=np.float32).reshape(4, 2))

        @tf.function(input_signature=[tf.TensorSpec((None, 2), name="y"), tf.TensorSpec((None, 4), name="x")])
        def __call__(self, y, x):
            return {"sum": x @ self.kernel + y, "y": y}

    tf.saved_model.save(Linear(), str(tmp_path / "linear"))
    source = open_model(tmp_path / "linear")
    assert (source.name, source.format, source.signature) == ("linear", "saved_model", None)
    assert source.inputs == (TensorSpec("x", (1, 4), "float32"), TensorSpec("y", (1, 2), "float32"))
    assert source.outputs == (TensorSpec("sum", (1, 2), "float32"), TensorSpec("y", (1, 2), "float32"))
    feed = {"x": np.ones((1, 4), np.float32), "y": np.array([[1, 2]], np.float32)}
    np.testing.assert_array_equal(source.infer(feed)["sum"], [[13, 18]])
    np.testing.assert_array_equal(to_tflite(source, feed)["sum"], [[13, 18]])


def test_choosing_among_several(open_model, save):
    import tensorflow as tf

    folder = save(tf.TensorSpec((None, 2), name="x"), signatures=("encode", "decode"))
    with pytest.raises(BadInputError) as caught:
        open_model(folder)
    assert caught.value.message == f"the SavedModel {folder} has several signatures: decode, encode"
    assert caught.value.hint == "choose: --signature NAME"
    with pytest.raises(BadInputError) as caught:
        open_model(folder, signature="encod")
    assert caught.value.message == f"the SavedModel {folder} has no signature 'encod'"
    assert caught.value.hint == "did you mean encode or decode?"
    source = open_model(folder, signature="encode", batch=3)
    assert (source.signature, source.inputs[0].shape) == ("encode", (3, 2))


def test_the_only_one_and_the_default_need_no_choice(open_model, save, tmp_path):
    import tensorflow as tf

    folder = save(tf.TensorSpec((None, 2), name="x"), signatures=("serving_default", "other"))
    assert open_model(folder).outputs[0].shape == (1, 2)


def test_none_at_all(open_model, save):
    with pytest.raises(BadInputError, match="has no signature") as caught:
        open_model(save(signatures=(), function=lambda: 1))
    assert "signatures={'serving_default': function}" in caught.value.hint


def test_texts_are_refused(open_model, save):
    import tensorflow as tf

    folder = save(tf.TensorSpec((None,), tf.string, name="text"), function=tf.strings.length)
    with pytest.raises(
        BadInputError, match="the input 'text' takes string values; edgeopt handles numbers that NumPy knows"
    ):
        open_model(folder)
    folder = save(tf.TensorSpec((None,), name="x"), function=tf.strings.as_string)
    with pytest.raises(BadInputError, match="the output 'output_0' is no tensor of numbers"):
        open_model(folder)


def test_an_output_without_a_size_of_its_own_is_refused(open_model, save):
    """TensorFlow takes a ragged input apart into two whose sizes do not fit each other on any feed of ours."""
    import tensorflow as tf

    folder = save(tf.RaggedTensorSpec((None, None)), function=lambda words: words.to_tensor())
    with pytest.raises(BadInputError, match="the size of the output 'output_0' depends on the values that go in"):
        open_model(folder)


def test_unknown_shapes(open_model, save):
    import tensorflow as tf

    folder = save(tf.TensorSpec(None, name="x"))
    with pytest.raises(BadInputError, match="the input 'x' has no known shape"):
        open_model(folder)
    assert open_model(folder, input_shapes=["3,2"]).outputs == (TensorSpec("output_0", (1, 3, 2), "float32"),)


def test_a_lookup_table_is_kept_and_its_batch_is_known(open_model, tmp_path):
    import tensorflow as tf

    module = tf.Module()
    pairs = tf.lookup.KeyValueTensorInitializer([1, 2], [10.0, 20.0], key_dtype=tf.int64)
    module.table = tf.lookup.StaticHashTable(pairs, -1.0)
    module.function = tf.function(module.table.lookup, input_signature=[tf.TensorSpec((None, 2), tf.int64, name="ids")])
    tf.saved_model.save(module, str(tmp_path / "table"), signatures=module.function)
    source = open_model(tmp_path / "table")
    assert source.outputs == (TensorSpec("output_0", (1, 2), "float32"),)
    np.testing.assert_array_equal(source.infer({"ids": np.array([[2, 7]])})["output_0"], [[20, -1]])


def test_a_folder_that_tensorflow_cannot_read(open_model, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(BadInputError, match=f"the SavedModel {folder} cannot be loaded: ") as caught:
        open_model(folder)
    assert caught.value.hint == "is the folder complete?"


@pytest.mark.shared
def test_a_real_one_of_tensorflow_2_3(open_model, to_tflite, shared):
    source = open_model(shared / "models" / "mlperf_tiny_kws" / "kws_ref_model")
    assert source.inputs == (TensorSpec("input_1", (1, 49, 10, 1), "float32"),)
    assert source.outputs == (TensorSpec("dense", (1, 12), "float32"),)
    feed = {"input_1": np.random.default_rng(0).random((1, 49, 10, 1), np.float32)}
    np.testing.assert_allclose(to_tflite(source, feed)["dense"], source.infer(feed)["dense"], atol=1e-5)


def test_a_function_without_inputs_or_outputs(open_model, save):
    import tensorflow as tf

    with pytest.raises(BadInputError, match="the model has no inputs"):
        open_model(save(function=lambda: tf.zeros((1, 3))))


def test_ragged_inputs_are_called_so(open_model, save):
    import tensorflow as tf

    folder = save(tf.RaggedTensorSpec((None, None)), function=lambda x: tf.reduce_sum(x, axis=1))
    with pytest.raises(BadInputError) as caught:
        open_model(folder)
    assert (
        caught.value.hint == "it takes ragged tensors, which edgeopt cannot feed; save it with inputs of a fixed shape"
    )


def test_an_input_that_fills_the_memory_is_refused_before_the_model_runs(open_model, save, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr("edgeopt.source.normalise.available_bytes", lambda: 10**9)
    with pytest.raises(BadInputError) as caught:
        open_model(save(tf.TensorSpec((None, 1000), name="x")), batch=1_000_000)
    assert caught.value.message == "one feed of the model takes 4.0 GB, and 1.0 GB of memory is free"
    assert caught.value.hint == "make --batch or --input-shape smaller"


def test_a_layer_whose_name_tensorflow_does_not_take_is_named():
    from edgeopt.source.normalise import _hint

    assert _hint("Exception: 'ö_1' is not a valid root scope name.").startswith("rename the layer 'ö_1': ")
    assert _hint("something else") == "another --input-shape or --batch may fit"


def test_complex_outputs_agree_in_both_parts():
    from edgeopt.source.agreement import check_agreement

    right, wrong = np.complex64([[1 + 1j]]), np.complex64([[1 - 1j]])
    assert check_agreement(lambda _: {"y": right}, lambda _: {"y": right}, {}, half=False) == []
    with pytest.raises(BadInputError, match="answers differently"):
        check_agreement(lambda _: {"y": wrong}, lambda _: {"y": right}, {}, half=False)
