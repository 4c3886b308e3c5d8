import pytest

from edgeopt.errors import UsageError
from edgeopt.source.arguments import parse_ranges, parse_shapes


def test_shapes_with_and_without_a_name():
    assert parse_shapes(["96,96,3"]) == {"": (96, 96, 3)}
    assert parse_shapes(["image=96, 96, 3", "ids=8"]) == {"image": (96, 96, 3), "ids": (8,)}
    assert parse_shapes(["96x96x3"]) == {"": (96, 96, 3)}


@pytest.mark.parametrize("text", ["", "a=", "96,,3", "96,-1,3", "0,3", "96.5", "image", "²"])
def test_what_is_no_shape(text):
    with pytest.raises(UsageError, match="every dimension is a whole number above 0") as caught:
        parse_shapes([text])
    assert caught.value.hint == "for instance 96,96,3 or NAME=96,96,3, without the batch"


def test_an_input_named_twice():
    with pytest.raises(UsageError, match="--input-shape names a twice"):
        parse_shapes(["a=1", "a=2"])
    with pytest.raises(UsageError, match="--input-range names the input twice"):
        parse_ranges(["0,1", "0,2"])


def test_ranges():
    assert parse_ranges(["0,255", "x=-1.5,1e3"]) == {"": (0.0, 255.0), "x": (-1.5, 1000.0)}


@pytest.mark.parametrize("text", ["1", "2,1", "1,1", "a,b", "0,inf", "nan,1", "0,1,2"])
def test_what_is_no_range(text):
    with pytest.raises(UsageError, match="a range is two"):
        parse_ranges([text])
