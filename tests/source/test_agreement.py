import numpy as np
import pytest

from edgeopt.contract import TensorSpec
from edgeopt.errors import BadInputError
from edgeopt.source.agreement import check_agreement, sample_feed, telling_feeds

INPUTS = [TensorSpec("x", (1, 100), "float32"), TensorSpec("n", (1, 100), "int32"), TensorSpec("b", (1, 9), "bool")]
RANGES = {"x": (-1.0, 3.0), "n": (0.0, 2.0), "b": (0.0, 1.0)}


def answers(*values):
    """A model that answers with each value in turn, and with the last one from then on."""
    waiting = list(values)
    return lambda feed: {"y": np.asarray(waiting.pop(0) if len(waiting) > 1 else waiting[0], np.float32)}


def test_a_feed_covers_its_range_and_is_the_same_again():
    feed = sample_feed(INPUTS, RANGES)
    assert {name: (array.shape, array.dtype.name) for name, array in feed.items()} == {
        "x": ((1, 100), "float32"), "n": ((1, 100), "int32"), "b": ((1, 9), "bool"),
    }  # fmt: skip
    assert set(feed["n"].ravel()) == {0, 1, 2}
    assert -1 <= feed["x"].min() < -0.8
    assert 2.8 < feed["x"].max() <= 3
    np.testing.assert_array_equal(feed["x"], sample_feed(INPUTS[::-1], RANGES)["x"])


def test_telling_feeds_reach_both_ends():
    low, high, *noise = telling_feeds(INPUTS, RANGES)
    assert (set(low["n"].ravel()), set(high["n"].ravel())) == ({0}, {2})
    assert (set(low["x"].ravel()), set(high["x"].ravel())) == ({-1.0}, {3.0})
    assert not np.array_equal(noise[0]["x"], noise[1]["x"])


def test_small_differences_are_fine():
    assert check_agreement(answers([100.05]), answers([100.0]), {}, half=False) == []
    assert check_agreement(answers([104.0]), answers([100.0]), {}, half=True) == []
    assert check_agreement(answers([np.nan, 1]), answers([np.nan, 1]), {}, half=False) == []


@pytest.mark.parametrize("found", [[101.0], [np.nan], [[100.0]]])
def test_a_changed_model_is_an_error(found):
    with pytest.raises(BadInputError, match="the model answers differently once it is made ready for export"):
        check_agreement(answers(found), answers([100.0]), {}, half=False)


def test_a_model_that_throws_dice_is_told():
    assert check_agreement(answers([1.0]), answers([2.0], [3.0]), {}, half=False) == [
        "the model does not answer the same input twice in the same way; comparisons mean little"
    ]


def test_mixed_precision_only_warns():
    assert check_agreement(answers([2.0]), answers([1.0]), {}, half=True) == [
        "in float32 the model answers differently by up to 1 of its largest value"
    ]
