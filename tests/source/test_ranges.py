import pytest

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError
from edgeopt.source.layout import find_layout
from edgeopt.source.ranges import choose_ranges


def layers_range(*layers, shape=(4,), dtype="float32"):
    import keras

    model = keras.Sequential([keras.Input(shape, dtype=dtype, name="x"), *layers])
    return find_layout(model, None, trusted=False).found_ranges()


def test_by_dtype():
    specs = [TensorSpec(dtype, (1,), dtype) for dtype in ("float32", "uint8", "int8", "int32", "bool")]
    assert choose_ranges(specs, {}, {}) == {
        "float32": (-1.0, 1.0), "uint8": (0.0, 255.0), "int8": (-128.0, 127.0), "int32": (0.0, 1.0), "bool": (0.0, 1.0),
    }  # fmt: skip


def test_what_the_user_gives_comes_first():
    specs = [TensorSpec("a", (1,), "float32"), TensorSpec("b", (1,), "float32")]
    assert choose_ranges(specs, {"a": (0.0, 9.0), "b": (0.0, 3.0)}, {"a": (0.0, 255.0)}) == {
        "a": (0.0, 255.0), "b": (0.0, 3.0),
    }  # fmt: skip
    with pytest.raises(BadInputError, match="--input-range: the model has no input 'c'"):
        choose_ranges(specs, {}, {"c": (0.0, 1.0)})


def test_first_layers_that_tell():
    from keras import Input, Sequential
    from keras import layers as kind

    assert layers_range(kind.Embedding(10, 2), dtype="int32") == {"x": (0.0, 9.0)}
    assert layers_range(kind.Rescaling(1 / 255)) == {"x": (0.0, 255.0)}
    assert layers_range(kind.Reshape((2, 2)), kind.Dropout(0.5), kind.Rescaling(2.0)) == {"x": (0.0, 255.0)}
    assert layers_range(kind.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0]), shape=(2,)) == {"x": (-7.0, 11.0)}
    assert layers_range(Sequential([Input((4,)), kind.Rescaling(2.0)])) == {"x": (0.0, 255.0)}
    assert layers_range(kind.Dense(2), kind.Rescaling(2.0)) == {}


def test_a_functional_model_with_several_inputs():
    import keras
    from keras import layers as kind

    image, ids, rest = (
        keras.Input((4,), name="i"),
        keras.Input((2,), dtype="int32", name="t"),
        keras.Input((1,), name="r"),
    )
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, kind.Dense(2)(kind.Rescaling(2.0)(inner_input)))
    parts = [inner(image), kind.Flatten()(kind.Embedding(7, 1)(ids)), kind.Dense(1)(rest)]
    model = keras.Model([image, ids, rest], kind.Concatenate()(parts))
    assert find_layout(model, None, trusted=False).found_ranges() == {"i": (0.0, 255.0), "t": (0.0, 6.0)}
