"""The tflite backend on tiny models of every kind: the file loads, runs in its runner, and agrees with the source."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.api import Artifact, ExportError, ExportRequest
from edgeopt.options import check_options_class
from edgeopt.source.choice import resolve_source
from edgeopt.source.model import LoadedSource, open_source
from edgeopt.targets import find_targets
from edgeopt_tflite import conversion, quantization, recurrent, runner
from edgeopt_tflite.backend import Tflite
from edgeopt_tflite.operators import Operators, has_loop, read_operators
from edgeopt_tflite.production import Options
from tests.plugins.models import MODELS, iterating, loop, odd, save, sequences, variable_length

RECURRENT = ("lstm", "gru", "stacked", "bidirectional", "embedding", "captions", "mixed-lstm")
BY_CONVERTER = (*RECURRENT, "module")
"""litert-quantizer's file of `module` does not run: an output that ARG_MAX reads as well has no data."""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@dataclass
class Bench:
    """One tiny model with its feeds."""

    source: LoadedSource
    calibration: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    folder: Path

    def export(self, **options: Any) -> Artifact:
        out_dir = self.folder / ("-".join(options.values()) or "default")
        out_dir.mkdir(exist_ok=True)
        request = ExportRequest(self.source, out_dir, Options(**options), self.calibration, log=lambda _: None)
        return Tflite().export(request)

    def run(self, artifact: Artifact) -> dict[str, Any]:
        model, answers = runner.load(artifact.main, 1), []
        for feed in self.evaluation:
            model.feed(feed)
            model.invoke()
            answers.append(model.outputs())
        return stacked(answers)

    def reference(self) -> dict[str, Any]:
        return stacked([self.source.infer(feed) for feed in self.evaluation])


def open_bench(model: Any, feeds: list[dict[str, Any]], folder: Path, **given: Any) -> Bench:
    folder.mkdir(exist_ok=True)
    source = open_source(resolve_source(str(save(model, folder)), **given), folder / "run")
    half = len(feeds) // 2
    return Bench(source, feeds[:half], feeds[half:], folder)


def stacked(answers: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def sqnr_db(found: dict[str, Any], wanted: dict[str, Any]) -> float:
    """Return the lowest of all outputs; integers count as right where most are."""
    assert list(found) == sorted(wanted)
    ratios = []
    for name, reference in wanted.items():
        assert (found[name].shape, found[name].dtype) == (reference.shape, reference.dtype)
        if reference.dtype.kind == "f":
            noise = np.sum((found[name] - reference) ** 2)
            ratios.append(10 * np.log10(np.sum(reference**2) / max(noise, 1e-30)))
        else:
            assert np.mean(found[name] == reference) > 0.8
    return float(min(ratios))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Return the bench of a model, made once."""
    import keras

    made: dict[str, Bench] = {}

    def make(name: str) -> Bench:
        if name not in made:
            keras.utils.set_random_seed(7)
            build, draw = MODELS[name]
            rng = np.random.default_rng(7)
            model = build()
            made[name] = open_bench(model, [draw(rng) for _ in range(48)], tmp_path_factory.mktemp(name))
        return made[name]

    return make


@pytest.mark.parametrize("name", MODELS)
def test_float32_answers_as_the_source(bench, name):
    model = bench(name)
    artifact = model.export(quantization="none")
    assert sqnr_db(model.run(artifact), model.reference()) > 90
    assert artifact.metadata["quantization"] == "none"
    assert artifact.calibration_feeds == 0
    assert artifact.warnings == ()
    assert artifact.files == (artifact.main,)


@pytest.mark.parametrize("name", MODELS)
def test_int8_is_near_the_source(bench, name):
    model = bench(name)
    artifact = model.export(quantization="int8")
    assert sqnr_db(model.run(artifact), model.reference()) > 15
    assert artifact.metadata["quantization"] == "int8"
    assert artifact.metadata["unrolled"] is (name in RECURRENT)
    assert artifact.metadata["quantizer"] == ("converter" if name in BY_CONVERTER else "litert")
    assert artifact.calibration_feeds == 24
    floats, count = artifact.metadata["float_operators"], artifact.metadata["operators"]
    assert floats <= {"transformer": 5, "stacked": 2, "bidirectional": 2}.get(name, 1), (
        "the converter may leave one SPLIT of zeros a layer"
    )
    said = [warning for warning in artifact.warnings if f"{floats} of {count} operators stay" in warning]
    assert len(said) == (floats > 0)


@pytest.mark.parametrize("quantizer", ["litert", "converter"])
def test_int8_io_takes_and_gives_bytes(bench, quantizer):
    model = bench("conv")
    artifact = model.export(quantization="int8", io="int8", quantizer=quantizer)
    loaded = runner.load(artifact.main, 1)
    assert [detail["dtype"] for detail in (*loaded._inputs.values(), *loaded._outputs.values())] == [np.int8, np.int8]
    assert sqnr_db(model.run(artifact), model.reference()) > 20
    assert artifact.metadata["io"] == "int8"
    assert artifact.metadata["quantizer"] == quantizer


@pytest.mark.parametrize("quantizer", ["litert", "converter"])
@pytest.mark.parametrize("name", ["conv", "gru"])
def test_dynamic_keeps_activations_in_float(bench, name, quantizer):
    model = bench(name)
    artifact = model.export(quantization="dynamic-int8", quantizer=quantizer)
    assert sqnr_db(model.run(artifact), model.reference()) > 25
    assert artifact.warnings == ()
    assert artifact.calibration_feeds == 0


def test_float16_halves_the_weights(bench):
    model = bench("transformer")
    artifact = model.export(quantization="float16")
    assert sqnr_db(model.run(artifact), model.reference()) > 50
    assert 40 < sqnr_db(model.run(artifact), model.reference()) < 100, "half precision rounds"


@pytest.mark.parametrize("quantizer", ["litert", "converter"])
def test_sixteen_bit_activations(bench, quantizer):
    model = bench("conv")
    artifact = model.export(quantization="int8-int16", quantizer=quantizer)
    assert sqnr_db(model.run(artifact), model.reference()) > 25
    assert artifact.metadata["quantizer"] == quantizer


def test_the_float_file_is_made_once_for_all_targets(bench, monkeypatch):
    model = bench("conv")
    first = model.export(quantization="none").main.read_bytes()
    monkeypatch.setattr(conversion, "convert", None)
    assert model.export(quantization="none").main.read_bytes() == first
    model.export(quantization="int8")
    model.export(quantization="dynamic-int8")


def test_the_same_bytes_twice(bench):
    model = bench("conv")
    first = model.export(quantization="int8").main.read_bytes()
    assert model.export(quantization="int8").main.read_bytes() == first


def test_unrolling_leaves_the_shared_model_as_it_was(bench):
    model = bench("bidirectional")
    model.export(quantization="int8")
    assert [layer.unroll for layer in model.source.keras()._flatten_layers() if hasattr(layer, "unroll")] == [False] * 2


def test_a_loop_that_no_keras_made_stays_dynamic_and_says_so(tmp_path):
    rng = np.random.default_rng(0)
    model = open_bench(loop(), [{"x": rng.normal(size=(1, 40)).astype("float32")} for _ in range(16)], tmp_path)
    artifact = model.export(quantization="int8", io="int8")
    (said,) = artifact.warnings
    assert said.startswith("the loop stays dynamic, only weights are int8: ")
    assert said.endswith("/model is a SavedModel, and this needs a Keras model")
    assert (artifact.metadata["quantization"], artifact.metadata["io"]) == ("dynamic-int8", "float32")
    assert artifact.calibration_feeds == 0
    assert sqnr_db(model.run(artifact), model.reference()) > 25


def test_a_loop_beside_a_recurrent_layer_stays_dynamic(tmp_path):
    """The converter's calibrator would end the process."""
    rng = np.random.default_rng(0)
    artifact = open_bench(iterating(), [sequences(rng) for _ in range(8)], tmp_path).export(quantization="int8")
    said = "the loop stays dynamic, only weights are int8: a loop is left that is no recurrent layer of Keras"
    assert artifact.warnings == (said,)


def test_a_variable_length_that_was_fixed_is_unrolled(tmp_path):
    rng = np.random.default_rng(0)
    feeds = [sequences(rng) for _ in range(48)]
    model = open_bench(variable_length(), feeds, tmp_path, input_shapes=["6,4"])
    artifact = model.export(quantization="int8")
    assert sqnr_db(model.run(artifact), model.reference()) > 15
    assert artifact.metadata["unrolled"] is True


def test_a_long_loop_stays_dynamic(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(recurrent, "LONGEST", 5)
    known = bench("gru")
    artifact = open_bench(known.source.keras(), known.calibration, tmp_path / "again").export(quantization="int8")
    said = "the loop stays dynamic, only weights are int8: 6 steps are more than the 5 that are unrolled"
    assert artifact.warnings == (said,)


def test_the_other_quantizer_is_tried_and_the_row_says_so(bench, monkeypatch):
    def refuse(*_):
        raise ValueError("no such recipe\nand more")

    monkeypatch.setattr(quantization, "by_litert", refuse)
    artifact = bench("conv").export(quantization="int8", quantizer="auto")
    assert artifact.metadata["quantizer"] == "converter"
    assert artifact.warnings == ("quantized by converter, because litert failed (no such recipe)",)


def test_both_quantizers_fail(bench, monkeypatch):
    def refuse(*_):
        raise ValueError("no")

    monkeypatch.setattr(quantization, "by_litert", refuse)
    monkeypatch.setattr(quantization, "by_converter", refuse)
    with pytest.raises(ExportError, match=r"litert failed \(no\); converter failed \(no\)") as caught:
        bench("conv").export(quantization="int8", quantizer="auto")
    assert "dynamic-int8" in caught.value.hint


@pytest.fixture(scope="module")
def nonsense(bench, tmp_path_factory):
    """The bytes of a file that fits the model `lstm`, with other weights."""
    import keras

    known = bench("lstm")
    other = keras.models.clone_model(known.source.keras())
    return open_bench(other, known.calibration, tmp_path_factory.mktemp("other")).export().main.read_bytes()


def test_a_file_that_answers_nonsense_is_replaced(bench, monkeypatch, nonsense):
    monkeypatch.setattr(quantization, "dynamic_by_litert", lambda _: nonsense)
    artifact = bench("lstm").export(quantization="dynamic-int8", quantizer="auto")
    assert artifact.metadata["quantizer"] == "converter"
    assert "because with litert the error is as large as the signal" in artifact.warnings[0]


def test_all_files_answer_nonsense(bench, monkeypatch, nonsense):
    monkeypatch.setattr(quantization, "dynamic_by_litert", lambda _: nonsense)
    monkeypatch.setattr(quantization, "dynamic_by_converter", lambda _: nonsense)
    artifact = bench("lstm").export(quantization="dynamic-int8", quantizer="auto")
    assert artifact.metadata["quantizer"] == "litert"
    assert [warning.split()[1] for warning in artifact.warnings] == ["litert", "converter"]


def test_an_operator_without_a_kernel_is_named(tmp_path):
    model = open_bench(odd(), [{"x": np.full((1, 2, 2), 2, "float32")}] * 2, tmp_path)
    with pytest.raises(ExportError, match="TensorFlow Lite has no kernel for Igamma, MatrixDeterminant") as caught:
        model.export(quantization="none")
    assert caught.value.hint


def test_a_converted_file_that_differs_is_refused(bench, monkeypatch, tmp_path):
    known = bench("conv")
    model = open_bench(known.source.keras(), known.calibration, tmp_path)
    answer = {name: value * 1.01 for name, value in known.source.infer(known.calibration[0]).items()}
    with monkeypatch.context() as patch:
        patch.setattr(LoadedSource, "infer", lambda *_: answer)
        with pytest.raises(ExportError, match=r"the float32 file differs from the source in output '.+': by up to"):
            model.export(quantization="none")
    assert model.export(quantization="none").main.is_file(), "nothing wrong was kept"


def test_compare_names_what_is_wrong():
    one, two = np.ones((1, 2), "float32"), np.ones((1, 3), "float32")
    conversion.compare({"a": one}, {"a": one * np.float32(1.0001)}, "it")
    with pytest.raises(ExportError, match="it has no output 'b', only a"):
        conversion.compare({"a": one}, {"b": one}, "it")
    with pytest.raises(ExportError, match=r"it gives 'a' the shape \(1, 3\), the source \(1, 2\)"):
        conversion.compare({"a": two}, {"a": one}, "it")
    with pytest.raises(ExportError, match="it differs from the source in output 'a': by up to 1, values up to 2"):
        conversion.compare({"a": one}, {"a": one * 2}, "it")


def test_bytes_at_the_border_need_int8(bench):
    with pytest.raises(ExportError, match="io = int8 does not go with quantization = float16") as caught:
        bench("conv").export(quantization="float16", io="int8")
    assert caught.value.hint == "set quantization=int8, or leave io at float32"


def test_the_runner_needs_numpy_and_litert_only(bench):
    """It is pushed to a device alone, so it runs here by its path, and what it loaded is looked at."""
    artifact = bench("conv").export(quantization="int8")
    code = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("pushed", sys.argv[1])
pushed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pushed)
import numpy as np
model = pushed.load(sys.argv[2], 2)
model.feed({"image": np.zeros((1, 8, 8, 3), "float32")})
model.invoke()
(value,) = model.outputs().values()
heavy = [name for name in ("edgeopt", "edgeopt_tflite", "tensorflow", "keras") if name in sys.modules]
print(json.dumps([value.dtype.name, value.shape, heavy]))
"""
    arguments = [sys.executable, "-c", code, str(Tflite.runner), str(artifact.main)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["float32", [1, 5], []]


@pytest.mark.parametrize(("name", "loops"), [("conv", False), ("lstm", True)])
def test_a_loop_is_found(bench, name, loops):
    assert has_loop(bench(name).export(quantization="none").main) is loops


def test_operators_are_counted_in_loops_too(bench):
    artifact = bench("stacked").export(quantization="none")
    found = read_operators(artifact.main)
    assert found.count > len(found.floats) > 10


@pytest.mark.parametrize(
    ("floats", "remark"),
    [
        ((), None),
        (("SPLIT",), "1 of 31 operators stays float32 (SPLIT)"),
        (("NEG", "SPLIT", "NEG"), "3 of 31 operators stay float32 (NEG, SPLIT)"),
    ],
)
def test_the_remark_about_float_operators(floats, remark):
    assert Operators(31, floats).remark == remark


def test_the_targets_fit_the_options():
    check_options_class(Options)
    targets = {name: target for name, target in find_targets().items() if target.backend == "tflite"}
    assert {name: Options(**target.options).quantization for name, target in targets.items()} == {
        "tflite-dynamic-int8": "dynamic-int8",
        "tflite-float16": "float16",
        "tflite-float32": "none",
        "tflite-int8": "int8",
    }
