"""What a device has of the 8-bit dot products, and what an artifact needs of them."""

import pytest

from edgeopt.measure import observer
from edgeopt.measure.instructions import BY_FLAG, features, lacks_dot_product, missing

pytestmark = pytest.mark.quick


def test_the_flags_are_those_that_the_observer_reports():
    assert set(BY_FLAG) == set(observer.INT8_FEATURES)


@pytest.mark.parametrize(
    ("reported", "found"),
    [
        ("avx512_vnni", {"vnni"}),
        ("avx_vnni amx_int8", {"vnni"}),
        ("asimddp i8mm", {"dotprod", "i8mm"}),
        ("none", set()),
        ("", None),
        (None, None),
    ],
)
def test_features(reported, found):
    details = {} if reported is None else {"int8_features": reported}
    assert features(details) == found
    assert lacks_dot_product(details) is (found == set())


@pytest.mark.parametrize(
    ("machine", "reported", "lacking"),
    [
        ("x86_64", "none", ("vnni",)),
        ("AMD64", "none", ("vnni",)),
        ("x86_64", "avx_vnni", ()),
        ("x86_64", "", ()),  # it does not report them
        ("aarch64", "none", ()),  # no processor of Arm overflows
        ("aarch64", "asimddp", ()),
    ],
)
def test_vnni_concerns_x86_processors_that_report_to_lack_it(machine, reported, lacking):
    assert missing(["vnni"], machine, {"int8_features": reported}) == lacking


def test_features_of_arm_concern_arm():
    assert missing(["dotprod", "i8mm"], "aarch64", {"int8_features": "asimddp"}) == ("i8mm",)
    assert missing(["dotprod", "i8mm"], "x86_64", {"int8_features": "none"}) == ()


def test_a_need_that_is_not_known_is_not_met():
    assert missing(["vnni", "sse9"], "x86_64", {"int8_features": "avx512_vnni"}) == ("sse9",)
