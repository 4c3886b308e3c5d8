"""Quantized artifacts give the same results on processors that are not there: emulated x86 ones, and an Arm board.

`pytest tests/processors --cpu Haswell --cpu Nehalem --cpu arm64` runs all of it. Without `--cpu`, the models that are
made to overflow run on this processor alone. Nothing here looks at time.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.processors.conftest import HERE, answer, export_all, processor_device
from tests.processors.models import HEAVY, SPOTTER, keyword_spotter, labels

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")]
LEAST_DB = {"float16": 50.0, "int8-int16": 15.0, "dynamic-int8": 25.0, "int8": 10.0}
"""What the small models have in each number format, the recurrent ones least."""
LEAST_HEAVY_DB = 25.0
"""An overflow halves the results of a model with heavy weights, which is 6 dB."""
NEAR_DB = 3.0
"""Processors add floats in another order, which moves single values to the next integer."""
ROUNDING_DB = 40.0
"""Above this, the order of additions is as large as the error itself."""


def sqnr_db(folder, answers, case):
    """Return the lowest signal-to-noise ratio of a case's float outputs over its feeds."""
    assert not (answers / f"{case['name']}.error").exists(), (answers / f"{case['name']}.error").read_text()
    signal, noise = {}, {}
    for number in range(case["feeds"]):
        with (
            np.load(folder / case["model"] / f"{number}.reference.npz") as wanted,
            np.load(answers / f"{case['name']}-{number}.npz") as found,
        ):
            for name in wanted.files:
                if wanted[name].dtype.kind == "f":
                    signal[name] = signal.get(name, 0.0) + float(np.sum(wanted[name] ** 2))
                    noise[name] = noise.get(name, 1e-30) + float(np.sum((found[name] - wanted[name]) ** 2))
    return min(10 * np.log10(signal[name] / noise[name]) for name in signal)


def test_fidelity_is_that_of_this_machine(artifacts, answers, backend, processor):
    folder = artifacts(backend)
    here, there = answers(backend, HERE), answers(backend, processor)
    wrong = []
    for case in json.loads((folder / "cases.json").read_text()):
        expected, found = sqnr_db(folder, here, case), sqnr_db(folder, there, case)
        least = max(
            LEAST_DB[case["name"].removeprefix(f"{case['model']}-")], LEAST_HEAVY_DB if case["model"] in HEAVY else 0.0
        )
        if not (found > least and found > min(expected, ROUNDING_DB) - NEAR_DB):
            wrong.append(f"{case['name']}: {found:.1f} dB, {expected:.1f} dB here, at least {least:g} dB wanted")
    assert not wrong


@pytest.mark.shared
def test_the_keyword_spotter_keeps_its_accuracy(shared, tmp_path, backend, processor):
    """With 8-bit weights, ONNX Runtime's file had 8.8 % instead of 91.8 % on a processor without VNNI."""
    folder = export_all(backend, {SPOTTER: keyword_spotter(shared)}, ["int8"], tmp_path / "made")
    with processor_device(processor, tmp_path / "board") as device:
        answer(device, folder, tmp_path / "answers", tmp_path / "log")
    classes = labels(shared)
    count = len(classes)
    source = [np.load(folder / SPOTTER / f"{number}.reference.npz") for number in range(count)]
    ours = [np.load(tmp_path / "answers" / f"{SPOTTER}-int8-{number}.npz") for number in range(count)]
    right = [[answer[answer.files[0]].argmax() for answer in answers] == classes for answers in (ours, source)]
    assert np.mean(right[0]) >= np.mean(right[1]) - 0.01
    assert np.mean(right[1]) > 0.85
