"""Weights of 7 or 8 bits: which are tried, which are chosen, and what is said of them."""

import pytest

from edgeopt.api import ExportError
from edgeopt_int8 import host
from edgeopt_int8.ranges import NO_INTEGERS, WORTH_DB, candidates, choose, make_each


@pytest.mark.parametrize(
    ("choice", "cpu_features", "tried"),
    [
        ("auto", (), (7,)),
        ("auto", ("vnni",), (7, 8)),
        ("auto", ("dotprod", "i8mm"), (7, 8)),
        ("true", ("vnni",), (7,)),
        ("false", (), (8,)),
    ],
)
def test_both_are_tried_only_for_a_device_with_a_dot_product(choice, cpu_features, tried):
    assert candidates(choice, cpu_features) == tried


@pytest.mark.parametrize(
    ("choice", "sqnr_db", "bits"),
    [
        ("auto", {7: 20.0}, 7),
        ("auto", {7: 20.0, 8: 20.0 + WORTH_DB}, 7),
        ("auto", {7: 20.0, 8: 20.1 + WORTH_DB}, 8),
        ("auto", {7: 20.0, 8: float("inf")}, 7),
        ("auto", {7: 20.0, 8: float("-inf")}, 7),
        ("auto", {7: float("inf"), 8: float("inf")}, 7),
        ("true", {7: 20.0}, 7),
        ("false", {8: 20.0}, 8),
    ],
)
def test_eight_bits_must_be_worth_it(choice, sqnr_db, bits):
    weights = choose(choice, sqnr_db)
    assert weights.bits == bits
    assert (weights.needs, weights.fallback) == (((), "") if bits == 7 else (("vnni",), "reduce_range=true"))
    assert weights.notes == (f"{bits}-bit weights: {weights.reason}",)
    assert weights.metadata == {"weight_bits": bits, "weight_bits_reason": weights.reason}
    assert ("without VNNI compute wrong results" in weights.reason) is (bits == 8)


def test_the_gain_is_stated():
    assert choose("auto", {7: 20.0, 8: 23.5}).reason.startswith("3.5 dB more accurate than 7 bits here, and the device")


def test_a_file_without_integers_says_nothing():
    assert (NO_INTEGERS.needs, NO_INTEGERS.fallback, NO_INTEGERS.notes, NO_INTEGERS.metadata) == ((), "", (), {})


def test_a_second_try_may_fail():
    def make(bits):
        if bits == 8:
            raise ExportError("no")
        return f"made with {bits}"

    assert make_each((7, 8), make) == {7: "made with 7"}
    with pytest.raises(ExportError):
        make_each((8,), make)


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "overflows"),
    [
        ("x86_64", "flags : fpu avx2", True),
        ("x86_64", "flags : fpu avx2 avx_vnni", False),
        ("x86_64", "flags : avx512f avx512_vnni", False),
        ("aarch64", "Features : fp asimd", False),
        ("x86_64", None, True),
    ],
)
def test_where_eight_bits_overflow(monkeypatch, tmp_path, machine, cpuinfo, overflows):
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(host, "CPUINFO", file)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert host.overflows() is overflows
