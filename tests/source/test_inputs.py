import pytest

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError
from edgeopt.source.choice import resolve_source
from edgeopt.source.inputs import Slot, argument_names, fix_shapes, plain_names


def fix(*slots: Slot, **options):
    return fix_shapes(slots, resolve_source("keras:MobileNetV2", **options))


def test_names_become_identifiers_and_unique():
    assert plain_names(["a", "a", "a_1", "in-1", "x/y:0", "2x", "_z", "é"]) == [
        "a", "a_1", "a_1_1", "in_1", "x_y_0", "arg_2x", "arg_z", "arg_",
    ]  # fmt: skip
    assert plain_names(["lambda"]) == ["lambda"]
    assert argument_names(["lambda", "self", "x"]) == ["arg_lambda", "arg_self", "x"]


def test_the_batch_is_fixed():
    image, ids = Slot("image", (None, 8, 8, 3), "float32"), Slot("ids", (None, 4), "int32")
    assert fix(image, ids, batch=2) == (
        [TensorSpec("image", (2, 8, 8, 3), "float32"), TensorSpec("ids", (2, 4), "int32")],
        [],
    )


def test_a_batch_that_the_model_fixes_stays():
    assert fix(Slot("x", (4, 3), "float32")) == (
        [TensorSpec("x", (4, 3), "float32")],
        ["the model itself fixes the batch: it is 4"],
    )


def test_unknown_dimensions_are_filled_in():
    sound = Slot("sound", (None, None, 40), "float32")
    assert fix(sound, input_shapes=["16,40"])[0] == [TensorSpec("sound", (1, 16, 40), "float32")]
    assert fix(sound, input_shapes=["sound=16,40"])[0] == [TensorSpec("sound", (1, 16, 40), "float32")]
    assert fix(Slot("x", None, "float32"), input_shapes=["7"])[0] == [TensorSpec("x", (1, 7), "float32")]


SOUND, IDS = Slot("sound", (None, None, 40), "float32"), Slot("ids", (None, 4), "int32")


@pytest.mark.parametrize(
    ("slots", "shapes", "message", "hint"),
    [
        (
            [SOUND], [],
            "the input 'sound' has unknown dimensions: [?,?,40]", "give them without the batch: --input-shape N,40",
        ),
        (
            [SOUND, IDS], [],
            "the input 'sound' has unknown dimensions: [?,?,40]",
            "give them without the batch: --input-shape sound=N,40",
        ),
        (
            [SOUND, IDS], ["16,40"],
            "--input-shape without a name is ambiguous: the inputs are sound, ids", "write --input-shape sound=...",
        ),
        ([SOUND], ["soun=16,40"], "--input-shape: the model has no input 'soun'", "did you mean sound?"),
        (
            [SOUND], ["16,41"],
            "--input-shape [16,41] does not fit the input 'sound', which is [?,?,40]",
            "leave out the batch; known dimensions cannot change",
        ),
        (
            [SOUND], ["1,16,40"],
            "--input-shape [1,16,40] does not fit the input 'sound', which is [?,?,40]",
            "leave out the batch; known dimensions cannot change",
        ),
        (
            [Slot("x", None, "float32")], [],
            "the input 'x' has no known shape", "give it: --input-shape 96,96,3",
        ),
        (
            [Slot("text", (None,), "string")], [],
            "the input 'text' takes string values; edgeopt handles numbers that NumPy knows",
            "save the model without its text preprocessing, or choose another signature",
        ),
        (
            [Slot("x", (None, 4), "bfloat16")], [],
            "the input 'x' takes bfloat16 values; edgeopt handles numbers that NumPy knows",
            "save the model with a float32 input",
        ),
        ([], ["3"], "the model has no inputs", "choose another signature, or save it with its inputs"),
        (
            [IDS, Slot("threshold", (), "float32")], [],
            "the input 'threshold' is a single number without a batch dimension",
            "save the model with that value built in",
        ),
        (
            [IDS, Slot("state", (2, 64), "float32")], [],
            "the inputs do not share their first dimension, the batch: ids [1,4], state [2,64]",
            "save the model with the batch first in every input",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_fixed(slots, shapes, message, hint):
    with pytest.raises(BadInputError) as caught:
        fix(*slots, input_shapes=shapes)
    assert (caught.value.message, caught.value.hint) == (message, hint)
