"""What is said of int8 on a processor without an 8-bit dot product."""

from types import SimpleNamespace

import pytest

from edgeopt.measure.facts import Facts
from edgeopt.measure.fidelity import Fidelity
from edgeopt.measure.verdicts import Design
from edgeopt.pipeline.dot_product import overflow, slow_int8
from edgeopt.pipeline.entries import Entry
from edgeopt.pipeline.exporting import Exported
from tests.pipeline.test_ranking import measured

pytestmark = pytest.mark.quick

PLAIN = Facts(uri="local", machine="x86_64", details={"int8_features": "none"})
VNNI = Facts(uri="local", machine="x86_64", details={"int8_features": "avx512_vnni"})
UNKNOWN = Facts(uri="local", machine="x86_64")
ARM = Facts(uri="local", machine="aarch64", details={"int8_features": "none"})


def entry(name, quantization, backend="tflite", **known):
    """An artifact with what is known of it: `us`, `needs`, `agreement`, `sqnr_db`."""
    plan = SimpleNamespace(target=SimpleNamespace(name=name, backend=backend), environment=None)
    exported = Exported(plan, None, None, (), {"quantization": quantization}, (), 0, needs=known.get("needs"))
    agreement, sqnr_db = known.get("agreement"), known.get("sqnr_db")
    is_judged = agreement is not None or sqnr_db is not None
    judged = Fidelity(100, agreement, sqnr_db, 0.9, 0.1, None, None) if is_judged else None
    timed = measured(name, known["us"]) if "us" in known else None
    return Entry(plan, exported=exported, measurement=timed, fidelity=judged)


@pytest.mark.parametrize(
    ("int8_us", "facts", "notes"),
    [
        (210, PLAIN, ["no 8-bit dot product (VNNI) on this processor: a saves memory here, not time"]),
        (200, ARM, ["no 8-bit dot product (dotprod) on this processor: a saves memory here, not time"]),
        (150, PLAIN, []),
        (210, VNNI, []),
        (210, UNKNOWN, []),
        (210, Facts(machine="aarch64", details={"int8_features": "none", "emulated": "qemu-user"}), []),
    ],
)
def test_int8_that_saves_no_time(int8_us, facts, notes):
    entries = [entry("a", "int8", us=int8_us), entry("b", "none", us=200)]
    assert list(slow_int8(entries, facts, Design(3))) == notes


def test_several_share_one_note():
    entries = [entry("a", "int8", us=300), entry("b", "none", us=200), entry("c", "dynamic-int8", us=210)]
    (note,) = slow_int8(entries, PLAIN, Design(3))
    assert note.endswith(": a and c save memory here, not time")


def test_only_files_of_one_backend_are_compared_and_only_what_was_measured():
    entries = [entry("a", "int8", us=300), entry("b", "none", backend="openvino", us=200), entry("c", "none")]
    assert list(slow_int8(entries, PLAIN, Design(3))) == []


FAR = "far less accurate than b: this processor has no 8-bit dot product (VNNI), without which 8-bit products may"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sqnr_db": 6.0}, {"quantization": "int8", "backend": "openvino", "sqnr_db": 25.0}),
        ({"agreement": 0.5}, {"quantization": "int8", "backend": "openvino", "agreement": 0.99}),
        ({"agreement": 0.5, "sqnr_db": 1.0}, {"quantization": "none", "agreement": 1.0, "sqnr_db": 100.0}),
        ({"sqnr_db": 6.0}, {"quantization": "none", "sqnr_db": 100.0}),
    ],
)
def test_the_cause_of_a_low_accuracy_is_named(one, other):
    entries = [entry("a", "int8", **one), entry("b", **other)]
    assert overflow(entries[0], entries, PLAIN).startswith(FAR)
    assert overflow(entries[0], entries, VNNI) is None
    assert overflow(entries[0], entries, ARM) is None
    assert overflow(entries[1], entries, PLAIN) is None
    stated = entry("a", "int8", needs=(), **one)
    assert overflow(stated, [stated, entries[1]], PLAIN) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sqnr_db": 20.0}, {"quantization": "int8", "backend": "openvino", "sqnr_db": 25.0}),
        ({"agreement": 0.95, "sqnr_db": 9.0}, {"quantization": "none", "agreement": 1.0, "sqnr_db": 100.0}),
        ({"sqnr_db": 20.0}, {"quantization": "none", "sqnr_db": 100.0}),
        ({"sqnr_db": 6.0}, {"quantization": "dynamic-int8", "backend": "openvino", "sqnr_db": 25.0}),
        (
            {"agreement": 0.99, "sqnr_db": 6.0},
            {"quantization": "int8", "backend": "openvino", "agreement": 0.99, "sqnr_db": 25.0},
        ),
    ],
)
def test_an_ordinary_loss_is_not(one, other):
    entries = [entry("a", "int8", **one), entry("b", **other)]
    assert overflow(entries[0], entries, PLAIN) is None
