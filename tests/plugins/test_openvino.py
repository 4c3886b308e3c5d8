"""The openvino backend on tiny models of every kind: the file loads, runs in its runner, and agrees with the source."""

from __future__ import annotations

import importlib.util
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
from edgeopt_int8 import host
from edgeopt_openvino import conversion, proof, quantization, runner, saving, stacks
from edgeopt_openvino.backend import OpenVino
from edgeopt_openvino.folding import fold_scales
from edgeopt_openvino.operators import Operators
from edgeopt_openvino.production import Candidate, Options, choose
from edgeopt_openvino.quantization import Recipe
from edgeopt_openvino.toolkit import nncf, openvino
from tests.plugins.models import MODELS, images, loop, odd, save

RECURRENT = {
    "lstm": "1 of 2 matrix operators stays float32 (LSTMSequence)",
    "gru": "1 of 2 matrix operators stays float32 (GRUSequence)",
    "stacked": "2 of 3 matrix operators stay float32 (GRUSequence, LSTMSequence)",
    "bidirectional": "2 of 3 matrix operators stay float32 (LSTMSequence)",
    "embedding": "1 of 3 matrix operators stays float32 (GRUSequence)",
    "captions": "1 of 2 matrix operators stays float32 (GRUSequence)",
    "mixed-lstm": "1 of 2 matrix operators stays float32 (LSTMSequence)",
}
"""What an int8 model says of its recurrent layers."""
SAFE = "7-bit weights: this file is right on processors without VNNI too"
UNFUSED = {"module"}
"""Two dense layers without biases: what OpenVINO's fused kernel for AVX-512 reads there was never written."""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@dataclass
class Bench:
    """One tiny model with its feeds."""

    source: LoadedSource
    calibration: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    folder: Path

    def export(self, quantization: str = "none") -> Artifact:
        out_dir = self.folder / quantization
        out_dir.mkdir(exist_ok=True)
        options = Options(quantization)
        return OpenVino().export(ExportRequest(self.source, out_dir, options, self.calibration, log=lambda _: None))

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
    artifact = model.export()
    assert sqnr_db(model.run(artifact), model.reference()) > 90
    assert artifact.metadata["quantization"] == "none"
    assert artifact.calibration_feeds == 0
    assert artifact.warnings == ()
    assert sorted(file.name for file in artifact.files) == ["model.bin", "model.xml"]
    assert sorted(artifact.files) == sorted(artifact.main.parent.iterdir())


@pytest.mark.parametrize("name", MODELS)
def test_int8_is_near_the_source(bench, name):
    model = bench(name)
    artifact = model.export("int8")
    assert sqnr_db(model.run(artifact), model.reference()) > 15
    assert artifact.metadata["quantization"] == "int8"
    assert artifact.metadata["recipe"] in (
        {"transformer"} if name == "transformer" else {"symmetric", "symmetric-means", "asymmetric"}
    )
    assert artifact.calibration_feeds == 24
    expected = [SAFE] + ([RECURRENT[name]] if name in RECURRENT else [])
    expected += ["4 of 17 matrix operators stay float32 (Einsum)"] if name == "transformer" else []
    expected += [proof.UNFUSED] if name in UNFUSED else []
    expected += [proof.FLOAT_ON_ARM]
    assert list(artifact.warnings) == expected
    assert artifact.metadata["fused_kernels"] is (name not in UNFUSED)


def test_convolutions_alone_are_integers_on_arm_too(tmp_path):
    from keras import Input, Sequential, layers

    stack = [layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(4, 1)]
    feeds = [images(np.random.default_rng(seed)) for seed in range(12)]
    artifact = open_bench(Sequential([Input((8, 8, 3), name="image"), *stack]), feeds, tmp_path).export("int8")
    assert artifact.warnings == (SAFE,)
    assert "low_precision_on_arm" not in artifact.main.read_text()


def test_float16_halves_the_weights(bench):
    model = bench("transformer")
    artifact, whole = model.export("float16"), model.export()
    assert 50 < sqnr_db(model.run(artifact), model.reference()) < 100, "half precision rounds"
    assert artifact.files[1].stat().st_size < 0.6 * whole.files[1].stat().st_size
    assert artifact.warnings == ()


def test_the_float_file_is_made_once_for_all_targets(bench, monkeypatch):
    model = bench("conv")
    first = model.export().main.read_bytes()
    monkeypatch.setattr(conversion, "convert", None)
    assert model.export().main.read_bytes() == first
    model.export("int8")


def test_an_operator_without_a_rule_is_named(tmp_path):
    model = open_bench(odd(), [{"x": np.full((1, 2, 2), 2, "float32")}] * 2, tmp_path)
    with pytest.raises(ExportError, match="OpenVINO has no rule for Igamma, MatrixDeterminant") as caught:
        model.export()
    assert "replace the layer" in caught.value.hint


def test_a_loop_that_no_keras_made_stays_float(tmp_path):
    rng = np.random.default_rng(3)
    model = open_bench(loop(), [{"x": rng.normal(size=(1, 40)).astype("float32")} for _ in range(8)], tmp_path)
    artifact = model.export("int8")
    assert sqnr_db(model.run(artifact), model.reference()) > 90
    assert artifact.metadata["quantization"] == "none"
    assert artifact.warnings == ("nothing in this model can be int8: it stays float32",)
    assert artifact.calibration_feeds == 0


def ports() -> Any:
    """Outputs that are an input, the same tensor twice, whole numbers and truths; and inputs of many dtypes."""
    import tensorflow as tf

    class Ports(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec((1, 4), tf.float32, name="a"),
                tf.TensorSpec((1, 4), tf.int64, name="b"),
                tf.TensorSpec((1, 4), tf.bool, name="c"),
                tf.TensorSpec((1, 4), tf.uint8, name="d"),
            ]
        )
        def __call__(self, a: Any, b: Any, c: Any, d: Any) -> dict[str, Any]:
            total = a + tf.cast(b, tf.float32) + tf.cast(d, tf.float32)
            return {
                "same": a,
                "twice": total,
                "again": total,
                "best": tf.argmax(total, axis=-1),
                "least": tf.argmin(total, axis=-1, output_type=tf.int32),
                "high": tf.logical_and(total > 1.0, c),
                "kept": b,
            }

    return Ports()


def test_names_and_dtypes_are_those_of_the_source(tmp_path):
    rng = np.random.default_rng(5)
    feeds = [
        {
            "a": rng.normal(size=(1, 4)).astype("float32"),
            "b": rng.integers(-9, 9, (1, 4)),
            "c": rng.integers(0, 2, (1, 4)).astype(bool),
            "d": rng.integers(0, 9, (1, 4)).astype("uint8"),
        }
        for _ in range(4)
    ]
    model = open_bench(ports(), feeds, tmp_path)
    found, wanted = model.run(model.export()), model.reference()
    assert sorted(found) == ["again", "best", "high", "kept", "least", "same", "twice"]
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_allclose(found[name], array, rtol=1e-6, err_msg=name)


def test_a_converted_file_that_differs_is_refused(bench, monkeypatch, tmp_path):
    known = bench("conv")
    model = open_bench(known.source.keras(), known.calibration, tmp_path)
    answer = {name: value * 1.01 for name, value in known.source.infer(known.calibration[0]).items()}
    with monkeypatch.context() as patch:
        patch.setattr(LoadedSource, "infer", lambda *_: answer)
        with pytest.raises(ExportError, match=r"the OpenVINO model differs from the source in output '.+': by up to"):
            model.export()
    assert model.export().main.is_file(), "nothing wrong was kept"


def test_compare_names_what_is_wrong():
    one, two = np.ones((1, 2), "float32"), np.ones((1, 3), "float32")
    conversion.compare({"a": one}, {"a": one * np.float32(1.0001)})
    conversion.compare({"a": one * np.nan}, {"a": one * np.nan})
    with pytest.raises(ExportError, match=r"gives 'a' as float32\[1, 3\], the source float32\[1, 2\]"):
        conversion.compare({"a": two}, {"a": one})
    with pytest.raises(ExportError, match="differs from the source in output 'a': by up to 1, values up to 2"):
        conversion.compare({"a": one}, {"a": one * 2})
    with pytest.raises(ExportError, match="differs from the source in output 'a'"):
        conversion.compare({"a": one * np.nan}, {"a": one})


def test_what_openvino_says_otherwise_is_told(tmp_path):
    with pytest.raises(ExportError, match="OpenVINO cannot take this model: ") as caught:
        conversion.convert(tmp_path / "nowhere")
    assert caught.value.hint == "the log holds the whole message"


def test_no_recipe_gives_a_file(bench, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("where it was\n\nno such thing")

    monkeypatch.setattr("edgeopt_openvino.production.quantize", refuse)
    with pytest.raises(ExportError, match="NNCF cannot quantize this model: no such thing") as caught:
        bench("conv").export("int8")
    assert "float16" in caught.value.hint


def test_of_two_recipes_the_truer_is_kept(bench, monkeypatch):
    def spoilt(file: Path, feeds: Any, recipe: Recipe, *, reduce_range: bool) -> Any:
        scale = {"worse": 0.01, "better": 1.0}[recipe.name]
        return quantization.quantize(
            file,
            [{name: value * scale for name, value in feed.items()} for feed in feeds],
            recipe,
            reduce_range=reduce_range,
        )

    monkeypatch.setattr("edgeopt_openvino.production.quantize", spoilt)
    monkeypatch.setattr("edgeopt_openvino.production.recipes", lambda _: (Recipe("worse"), Recipe("better")))
    artifact = bench("conv").export("int8")
    assert artifact.metadata["recipe"] == "better"
    monkeypatch.setattr("edgeopt_openvino.production.recipes", lambda _: (Recipe("worse"),))
    _, _, warning = bench("conv").export("int8").warnings
    assert warning.startswith("the error is as large as the signal (SQNR ")


@pytest.mark.parametrize(
    ("ratios", "chosen"), [((20.0, 20.9), 0), ((20.0, 21.1), 1), ((20.0, 19.0), 0), ((float("-inf"), 3.0), 1)]
)
def test_a_slower_model_must_be_truer(ratios, chosen):
    candidates = [Candidate(Recipe(str(db), worth_db=1.0), Path("model.xml"), proof.Proof(db)) for db in ratios]
    assert choose(candidates) is candidates[chosen]


@pytest.mark.parametrize(
    ("ratios", "chosen"), [((20.0, 20.1, 21.0), 1), ((20.0, 19.9, 21.1), 2), ((20.0, 19.9, 20.9), 0)]
)
def test_of_equally_fast_models_the_truest_is_kept(ratios, chosen):
    recipes = quantization.CONVOLUTIONAL
    candidates = [Candidate(r, Path("model.xml"), proof.Proof(db)) for r, db in zip(recipes, ratios, strict=True)]
    assert choose(candidates) is candidates[chosen]


def test_one_recipe_is_what_nncf_does_by_itself(bench):
    """So no model can be less accurate than with NNCF's defaults, but for the bit that the processors cost."""
    model = bench("conv")
    file = conversion.make_float_file(model.source, model.calibration, print)
    ours = quantization.quantize(file, model.calibration, quantization.CONVOLUTIONAL[1], reduce_range=True)
    plain = openvino().Core().read_model(str(file))
    theirs = nncf().quantize(
        plain,
        nncf().Dataset(model.calibration),
        subset_size=len(model.calibration),
        advanced_parameters=nncf().AdvancedQuantizationParameters(overflow_fix="enable"),
    )
    compiled = [openvino().Core().compile_model(each, "CPU", runner.SETTINGS) for each in (ours, theirs)]
    first, second = (each(model.evaluation[0])[0] for each in compiled)
    np.testing.assert_array_equal(first, second)


def layered(scales: bool) -> Any:
    """Three dense layers, with the scales of a batch normalisation behind each."""
    ops, rng = openvino().opset13, np.random.default_rng(2)
    given = ops.parameter([1, 32], np.float32, name="x")
    given.output(0).get_tensor().set_names({"x"})
    last = given
    for transposed in (False, True, False):
        product = ops.matmul(last, ops.constant(rng.normal(size=(32, 32)).astype("float32") / 6), False, transposed)
        last = ops.add(product, ops.constant(rng.normal(size=(1, 32)).astype("float32")))
        if scales:
            last = ops.multiply(ops.constant(rng.uniform(0.5, 2, (1, 32)).astype("float32")), last)
            last = ops.add(last, ops.constant(rng.normal(size=(32,)).astype("float32")))
    last.output(0).get_tensor().set_names({"y"})
    return openvino().Model([ops.result(last)], [given], "layers")


@pytest.mark.parametrize(("scales", "folded"), [(True, 3), (False, 0)])
def test_scales_go_into_the_layer_before(scales, folded):
    model = layered(scales)
    feed = {"x": np.random.default_rng(4).normal(size=(1, 32)).astype("float32")}
    before = openvino().Core().compile_model(model, "CPU", runner.SETTINGS)(feed)["y"].copy()
    assert fold_scales(model) == folded
    after = openvino().Core().compile_model(model, "CPU", runner.SETTINGS)(feed)["y"]
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    kinds = [operator.get_type_name() for operator in model.get_ordered_ops()]
    assert (kinds.count("MatMul"), kinds.count("Multiply"), kinds.count("Add")) == (3, 0, 3)


def test_a_scale_that_something_else_reads_stays():
    ops = openvino().opset13
    given = ops.parameter([1, 4], np.float32, name="x")
    product = ops.matmul(given, ops.constant(np.eye(4, dtype="float32")), False, False)
    scaled = ops.multiply(product, ops.constant(np.full((1, 4), 2, "float32")))
    model = openvino().Model([ops.result(product), ops.result(scaled)], [given], "both")
    assert fold_scales(model) == 0


def test_batch_normalisation_of_dense_layers_is_right_in_int8(tmp_path):
    """Without folding, OpenVINO 2026.4 answers with garbage on AVX-512, or does not compile the model."""
    from keras import Input, Sequential, layers

    stack: list[Any] = [Input((64,), name="x")]
    for _ in range(9):
        stack += [layers.Dense(64), layers.BatchNormalization(), layers.Activation("relu")]
    rng = np.random.default_rng(6)
    keras_model = Sequential([*stack, layers.Dense(8)])
    for layer in keras_model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = (64,)
            layer.set_weights([rng.uniform(0.5, 2, shape), *rng.normal(size=(2, 64)), rng.uniform(0.5, 2, shape)])
    model = open_bench(keras_model, [{"x": rng.normal(size=(1, 64)).astype("float32")} for _ in range(64)], tmp_path)
    artifact = model.export("int8")
    assert artifact.metadata["fused_kernels"]
    assert artifact.warnings == (SAFE, proof.FLOAT_ON_ARM)
    assert sqnr_db(model.run(artifact), model.reference()) > 15


def test_noise_that_is_no_number_is_the_worst():
    reference = [{"a": np.ones(2, "float32")}]
    assert proof.lowest_sqnr_db([{"a": np.full(2, np.nan)}], reference) == float("-inf")
    assert proof.lowest_sqnr_db([{"a": np.full(2, 1.1)}], reference) == pytest.approx(20)
    assert proof.lowest_sqnr_db(reference, reference) == float("inf")


def test_a_file_that_does_not_run_is_refused_with_its_reason(bench, monkeypatch):
    def refuse(*_: Any) -> None:
        raise RuntimeError("Exception from a.cpp\nno kernel")

    feeds = bench("conv").calibration
    model = openvino().Core().read_model(str(bench("conv").export().main))
    monkeypatch.setattr(proof, "answers", refuse)
    with pytest.raises(RuntimeError, match="no kernel"):
        proof.prove(model, bench("conv").folder / "refused.xml", feeds, [])


BOTH = """
import json, sys
from hashlib import sha256
from pathlib import Path
heard = []
sys.addaudithook(lambda event, _: heard.append(event) if event in {"socket.connect", "socket.getaddrinfo"} else None)
import numpy as np
from edgeopt.api import ExportRequest
from edgeopt.source.model import open_source
from edgeopt.source.choice import resolve_source
from edgeopt_openvino import runner
from edgeopt_openvino.backend import OpenVino
from edgeopt_openvino.production import Candidate, Options, choose
from tests.plugins.models import MODELS

workspace, wanted = Path(sys.argv[1]), json.loads(sys.argv[2])
found = {}
for path, name, quantization in wanted:
    rng = np.random.default_rng(7)
    feeds = [MODELS[name][1](rng) for _ in range(8)]
    source = open_source(resolve_source(path), workspace / name)
    out_dir = workspace / f"{name}-{quantization}"
    out_dir.mkdir()
    artifact = OpenVino().export(ExportRequest(source, out_dir, Options(quantization), feeds, log=lambda _: None))
    model = runner.load(artifact.main, 1)
    model.feed(feeds[0])
    model.invoke()
    for file in artifact.files:
        found[f"{name} {quantization} {file.suffix}"] = sha256(file.read_bytes()).hexdigest()
torch = [name for name in ("torch", "openvino_telemetry.main") if name in sys.modules]
print(json.dumps([found, heard, torch]))
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_and_report_to_nobody(bench, tmp_path, monkeypatch):
    """The second exports in another order: names that count what a process made before would tell."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "home").mkdir()
    names = ("dictionaries", "lstm", "transformer")
    wanted = [
        (str(bench(name).source.saved_model()), name, quantization)
        for name in names
        for quantization in ("none", "int8")
    ]
    said = []
    for number, order in enumerate((wanted, wanted[::-1])):
        command = [sys.executable, "-c", BOTH, str(tmp_path / str(number)), json.dumps(order)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.count("\n") == 1, "no bars"
        said.append(json.loads(done.stdout))
    (first, *rest), (second, *_) = said
    assert len(first) == 12
    assert first == second
    assert rest == [[], []], "no network, no torch, no telemetry"
    assert not [path for path in (tmp_path / "home").iterdir() if path.name not in {".cache", ".config"}]


def test_no_path_of_this_machine_is_in_the_file(bench):
    text = bench("conv").export("int8").main.read_text()
    assert str(bench("conv").folder) not in text
    assert 'input_model value="saved_model"' in text


def test_the_runner_needs_numpy_and_openvino_only(bench, tmp_path, monkeypatch):
    """It is pushed to a device alone, so it runs here by its path, and what it loaded is looked at."""
    artifact = bench("conv").export("int8")
    monkeypatch.setenv("HOME", str(tmp_path))
    code = """
import importlib.util, json, sys
heard = []
sys.addaudithook(lambda event, _: heard.append(event) if event in {"socket.connect", "socket.getaddrinfo"} else None)
spec = importlib.util.spec_from_file_location("pushed", sys.argv[1])
pushed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pushed)
import numpy as np
model = pushed.load(sys.argv[2], 2)
model.feed({"image": np.zeros((1, 8, 8, 3), "float32")})
model.invoke()
(value,) = model.outputs().values()
heavy = [name for name in ("edgeopt", "edgeopt_openvino", "tensorflow", "keras", "nncf") if name in sys.modules]
print(json.dumps([value.dtype.name, value.shape, heavy, heard, model.facts()]))
"""
    arguments = [sys.executable, "-c", code, str(OpenVino.runner), str(artifact.main)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    *said, facts = json.loads(done.stdout)
    assert said == ["float32", [1, 5], [], []]
    assert facts["float_arithmetic"] == "float32"
    assert facts["openvino"].startswith("20")
    assert list(tmp_path.iterdir()) == []


def test_the_runner_gives_the_threads_and_one_stream(bench):
    compiled = runner.load(bench("conv").export().main, 2)._compiled
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("NUM_STREAMS") == 1
    assert str(compiled.get_property("PERFORMANCE_HINT")).endswith("LATENCY")


def test_an_answer_stays_when_the_next_is_asked(bench):
    model = runner.load(bench("conv").export().main, 1)
    model.feed(bench("conv").evaluation[0])
    model.invoke()
    (first,) = model.outputs().values()
    kept = first.copy()
    model.feed(bench("conv").evaluation[1])
    model.invoke()
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("floats", "remark"),
    [
        ((), None),
        (("MatMul",), "1 of 9 matrix operators stays float32 (MatMul)"),
        (("MatMul", "Einsum", "MatMul"), "3 of 9 matrix operators stay float32 (Einsum, MatMul)"),
    ],
)
def test_the_remark_about_float_operators(floats, remark):
    assert Operators(9, floats).remark == remark


def test_without_its_packages_it_says_how_to_add_them(monkeypatch):
    assert OpenVino.unavailable() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    reason = "openvino and nncf are not installed; add with: pip install 'edgeopt[openvino]'"
    assert OpenVino.unavailable() == reason


def test_nncf_is_quiet(bench, capfd):
    nncf()
    bench("conv").export("int8")
    assert capfd.readouterr() == ("", "")


def test_the_targets_fit_the_options():
    check_options_class(Options)
    targets = {name: target for name, target in find_targets().items() if target.backend == "openvino"}
    assert {name: Options(**target.options).quantization for name, target in targets.items()} == {
        "openvino-float32": "none",
        "openvino-int8": "int8",
    }


def stack(*biased: bool, activation: str = "relu") -> Any:
    """Dense layers, each with or without a bias."""
    ops, rng = openvino().opset13, np.random.default_rng(3)
    last = ops.parameter([1, 16], np.float32, name="x")
    last.output(0).get_tensor().set_names({"x"})
    given = last
    for has_bias in biased:
        last = ops.matmul(last, ops.constant(rng.normal(size=(16, 16)).astype("float32")), False, False)
        if has_bias:
            last = ops.add(last, ops.constant(rng.normal(size=(1, 16)).astype("float32")))
        last = ops.relu(last) if activation == "relu" else ops.softmax(last, 1)
    last.output(0).get_tensor().set_names({"y"})
    return openvino().Model([ops.result(last)], [given], "stack")


@pytest.mark.parametrize(
    ("model", "is_bare"),
    [
        (lambda: stack(False, False), True),
        (lambda: stack(True, False), False),
        (lambda: stack(False, True), True),
        (lambda: stack(True, False, True), True),
        (lambda: stack(True, True), False),
        (lambda: stack(False), False),
        (lambda: stack(False, False, activation="softmax"), False),
    ],
)
def test_a_stack_in_which_a_layer_has_no_bias(model, is_bare):
    assert stacks.has_bare_stack(model()) is is_bare


@pytest.mark.parametrize(("flags", "is_fused"), [({"avx512bw"}, True), (set(), False)])
def test_the_fused_kernel_is_off_where_its_fault_cannot_be_seen(tmp_path, monkeypatch, flags, is_fused):
    """Here the answers are right with and without it."""
    monkeypatch.setattr(host, "flags", lambda: frozenset(flags))
    model, feeds = stack(False, False), [{"x": np.ones((1, 16), "float32")}] * 2
    saving.save(model, tmp_path / "float.xml", ["y"])
    proved = proof.prove(model, tmp_path / "int8.xml", feeds, proof.answers(tmp_path / "float.xml", feeds))
    assert proved.fused_kernels is is_fused
