"""Fidelity on outputs small enough to compute by hand."""

import math

import numpy as np
import pytest

from edgeopt.errors import ExportError
from edgeopt.measure import fidelity
from edgeopt.measure.fidelity import Fidelity, compare, degenerate, silent

pytestmark = pytest.mark.quick

PROBABILITIES = np.float32([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]])


def test_whole_result_of_a_classifier():
    output = PROBABILITIES.copy()
    output[2] = [0.4, 0.3, 0.3]  # answers 0 where the source answers 2
    power, error = float((PROBABILITIES.astype(float) ** 2).sum()), 0.02
    found = compare({"p": output}, {"p": PROBABILITIES}, np.array([0, 1, 0, 2]))
    assert found == Fidelity(
        feeds=4,
        top1_agreement=0.75,
        sqnr_db=pytest.approx(10 * math.log10(power / error), abs=1e-4),
        cosine=pytest.approx((power - 0.01) / math.sqrt(power * power), abs=1e-6),
        max_abs=pytest.approx(0.1),
        accuracy=0.75,
        source_accuracy=0.5,
    )


def test_equal_outputs_are_exact():
    found = compare({"p": PROBABILITIES.copy()}, {"p": PROBABILITIES})
    assert found == Fidelity(4, 1.0, None, 1.0, 0.0, None, None)


def test_equal_zeros_have_no_cosine():
    zeros = np.zeros((3, 4), np.float32)
    assert compare({"y": zeros}, {"y": zeros}) == Fidelity(3, None, None, None, 0.0, None, None)


def test_zero_reference_has_neither_ratio_nor_cosine():
    found = compare({"y": np.ones((3, 4))}, {"y": np.zeros((3, 4))})
    assert (found.sqnr_db, found.cosine, found.max_abs) == (None, None, 1.0)


def test_cosine_is_over_all_feeds():
    # One number per sample: within a sample the cosine could only be 1 or -1.
    found = compare({"y": np.array([[1.0], [0.0]])}, {"y": np.array([[1.0], [1.0]])})
    assert found.cosine == pytest.approx(1 / math.sqrt(2))


def test_several_outputs_give_the_worst_of_each():
    reference = {"a": np.array([[1.0, 0.0]]), "b": np.array([[100.0, 0.0]]), "c": np.array([[5.0]])}
    outputs = {"a": np.array([[1.0, 0.1]]), "b": np.array([[100.0, 1.0]]), "c": np.array([[5.0]])}
    found = compare(outputs, reference)
    assert found.sqnr_db == pytest.approx(20)  # of a
    assert found.cosine == pytest.approx(1 / math.sqrt(1.01))  # of a
    assert found.max_abs == 1.0  # of b
    assert found.top1_agreement is None


def test_blocks_add_up(monkeypatch):
    rng = np.random.default_rng(0)
    reference = {"y": rng.normal(size=(7, 11)).astype(np.float32)}
    outputs = {"y": reference["y"] + rng.normal(size=(7, 11)).astype(np.float32) / 10}
    whole = compare(outputs, reference)
    monkeypatch.setattr(fidelity, "BLOCK", 10)
    parts = compare(outputs, reference)
    assert (parts.sqnr_db, parts.cosine) == pytest.approx((whole.sqnr_db, whole.cosine))
    assert parts.max_abs == whole.max_abs


def test_small_errors_of_float32_are_not_lost():
    reference = np.full((1, 1000), 1000.0, np.float32)
    output = np.nextafter(reference, np.float32(2000))
    assert compare({"y": output}, {"y": reference}).sqnr_db == pytest.approx(20 * math.log10(1000 / 2**-14), abs=0.01)


@pytest.mark.parametrize(
    ("reference", "labels", "agreement"),
    [
        (PROBABILITIES, None, 1.0),
        (PROBABILITIES * 9 - 4, None, None),  # logits or measurements: nobody knows
        (PROBABILITIES * 9 - 4, [0, 1, 2, 1], 1.0),
        (PROBABILITIES[None], None, None),  # a sequence
        (PROBABILITIES[:, :1], None, None),  # one number, no labels
        (PROBABILITIES[:, :1], [1, 0, 0, 0], 1.0),  # one probability of two classes
        (PROBABILITIES[:, :1] * 3, [1, 0, 0, 0], None),  # a regression
        (PROBABILITIES[:, :1], [3, 1, 2, 5], None),  # a regression
        ((PROBABILITIES * 10).astype(np.int32), None, None),
    ],
)
def test_what_is_a_classifier(reference, labels, agreement):
    found = compare({"p": reference}, {"p": reference}, None if labels is None else np.array(labels))
    assert found.top1_agreement == agreement
    assert (found.accuracy is not None) == (agreement is not None and labels is not None)


def test_one_probability_of_two_classes():
    reference = {"p": np.float32([[0.9], [0.4], [0.6], [0.1]])}
    outputs = {"p": np.float32([[0.8], [0.6], [0.7], [0.2]])}
    found = compare(outputs, reference, np.array([1, 1, 1, 1]))
    assert (found.top1_agreement, found.accuracy, found.source_accuracy) == (0.75, 0.75, 0.5)


def test_not_finite_is_infinitely_wrong():
    output = PROBABILITIES.copy()
    output[1, 2] = np.nan
    found = compare({"p": output}, {"p": PROBABILITIES})
    assert (found.sqnr_db, found.cosine, found.max_abs) == (None, None, math.inf)


def test_the_same_infinity_is_no_error():
    masked = np.float32([[1.0, -np.inf], [np.nan, 2.0]])
    assert compare({"y": masked.copy()}, {"y": masked}).max_abs == 0.0


@pytest.mark.parametrize("outputs", [{}, {"q": PROBABILITIES}, {"p": PROBABILITIES[:2]}])
def test_other_names_or_shapes_are_an_error(outputs):
    with pytest.raises(ExportError, match="not those of the source model"):
        compare(outputs, {"p": PROBABILITIES})
    with pytest.raises(ExportError, match=r"p \(4, 3\)"):
        degenerate(outputs, {"p": PROBABILITIES})


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (PROBABILITIES, None),
        (np.where(PROBABILITIES > 0.75, np.nan, PROBABILITIES), "the output p is NaN or infinite on 1 of 4 feeds"),
        (np.where(PROBABILITIES > 0.45, np.inf, PROBABILITIES), "the output p is NaN or infinite on 3 of 4 feeds"),
        (np.zeros_like(PROBABILITIES), "the output p is zero on all 4 feeds"),
        (np.repeat(PROBABILITIES[:1], 4, 0), "the output p is the same on all 4 feeds"),
    ],
)
def test_degenerate_outputs(output, reason):
    assert degenerate({"p": output}, {"p": PROBABILITIES}) == reason


@pytest.mark.parametrize("fill", [0.0, 0.25, np.nan])
def test_what_the_source_does_too_is_not_degenerate(fill):
    same = {"p": np.full((4, 4), fill, np.float32)}
    assert degenerate(same, same) is None


def test_one_feed_is_not_called_constant():
    assert degenerate({"y": np.ones((1, 2))}, {"y": np.full((1, 2), 0.9)}) is None


def test_a_dead_output_beside_a_good_one_is_found():
    reference = {"a": PROBABILITIES, "b": PROBABILITIES}
    assert degenerate({"a": PROBABILITIES, "b": 0 * PROBABILITIES}, reference) == "the output b is zero on all 4 feeds"


def test_untrained_softmax_of_1000_classes_is_explained():
    logits = np.random.default_rng(0).normal(0, 0.05, (5, 1000))
    reference = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    int8 = np.round(reference * 256) / 256
    assert degenerate({"p": int8}, {"p": reference}) == (
        "the output p is zero on all 5 feeds: every probability of the source model is below 1/256 (the largest is "
        "0.0012), the step of an int8 output, as in an untrained network of 1,000 classes; export trained weights"
    )


@pytest.mark.parametrize(
    ("output", "doubt"),
    [
        (np.float32([[1, 2], [3, 4]]), None),
        (np.float32([[1, 2], [1, 2]]), "the same on all 2 feeds, so to agree with it proves nothing"),
        (np.zeros((2, 2)), "zero on all 2 feeds, so to agree with it proves nothing"),
        (np.zeros((1, 2)), "zero on all 1 feeds, so to agree with it proves nothing"),
        (
            np.float32([[1, np.nan], [3, 4]]),
            "NaN or infinite on 1 of 2 feeds, on which nothing can be compared with it",
        ),
        (np.full((3, 2), np.nan), "NaN or infinite on 3 of 3 feeds, on which nothing can be compared with it"),
        (np.zeros((0, 2)), None),
    ],
)
def test_a_source_whose_answers_prove_nothing(output, doubt):
    fine = np.float32([[1], [2]])
    assert silent({"a": fine, "y": output}) == (doubt and f"its output y is {doubt}")


def test_complex_outputs_are_compared_in_both_parts():
    reference = np.complex64([[1 + 1j, 2]])
    assert compare({"y": reference}, {"y": reference}).max_abs == 0
    assert compare({"y": reference + 0.5j}, {"y": reference}).max_abs == 0.5
    with pytest.raises(ExportError, match="its output y is float32, the source model's is complex64"):
        compare({"y": np.float32([[1, 2]])}, {"y": reference})
