"""The onnxruntime backend on tiny models of every kind: the file loads, runs in its runner, agrees with the source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
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
from edgeopt_onnxruntime import backend as backend_module
from edgeopt_onnxruntime.backend import OnnxRuntime
from edgeopt_onnxruntime.production import Options
from tests.plugins.models import MODELS, loop, odd, save

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")

from edgeopt_onnxruntime import conversion, quantization, runner  # noqa: E402
from edgeopt_onnxruntime.canonical import canonicalise  # noqa: E402
from edgeopt_onnxruntime.graphs import nodes_of  # noqa: E402
from edgeopt_onnxruntime.operators import Operators, read_operators  # noqa: E402
from edgeopt_onnxruntime.rewriting import replace_unknown  # noqa: E402

WITH_GRU = ("gru", "stacked", "embedding", "captions")
CONVOLVING = ("conv", "dictionaries", "mixed-conv")
LOOP_STAYS = "the loop stays float32: only what lies outside of it is quantized"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@dataclass
class Bench:
    """One tiny model with its feeds."""

    source: LoadedSource
    calibration: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    folder: Path

    def export(self, **options: Any) -> Artifact:
        out_dir = self.folder / ("-".join(map(str, options.values())) or "default")
        out_dir.mkdir(exist_ok=True)
        request = ExportRequest(self.source, out_dir, Options(**options), self.calibration, log=lambda _: None)
        return OnnxRuntime().export(request)

    def run(self, artifact: Artifact) -> dict[str, Any]:
        return stacked(conversion.answers_of(artifact.main, self.evaluation))

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
    assert sqnr_db(model.run(artifact), model.reference()) > 100
    assert artifact.metadata["quantization"] == "none"
    assert artifact.calibration_feeds == 0
    assert artifact.warnings == ()
    assert artifact.files == (artifact.main,)


@pytest.mark.parametrize("name", MODELS)
def test_int8_is_near_the_source(bench, name):
    model = bench(name)
    artifact = model.export(quantization="int8")
    assert sqnr_db(model.run(artifact), model.reference()) > (15 if name == "stacked" else 20)
    assert artifact.calibration_feeds == 24
    floats, count = artifact.metadata["float_operators"], artifact.metadata["operators"]
    assert len([said for said in artifact.warnings if f"{floats} of {count} operators stay" in said]) == (floats > 0)
    assert LOOP_STAYS not in artifact.warnings
    assert any("attention" in said for said in artifact.warnings) is (name == "transformer")


@pytest.mark.parametrize("name", MODELS)
def test_dynamic_is_nearer(bench, name):
    model = bench(name)
    artifact = model.export(quantization="dynamic-int8")
    assert sqnr_db(model.run(artifact), model.reference()) > 30
    assert artifact.calibration_feeds == 0
    assert LOOP_STAYS not in artifact.warnings
    assert any(said.startswith("GRU layers stay float32") for said in artifact.warnings) is (name in WITH_GRU)
    assert any("convolutions stay float32" in said for said in artifact.warnings) is (name in CONVOLVING)


@pytest.mark.parametrize("name", MODELS)
def test_float16_stores_the_weights_in_half_the_space(bench, name):
    model = bench(name)
    artifact = model.export(quantization="float16")
    assert 60 < sqnr_db(model.run(artifact), model.reference()) < 90, "half precision rounds"
    assert artifact.warnings == ()
    assert artifact.calibration_feeds == 0


def test_float16_costs_no_operator(bench):
    """ONNX Runtime folds the casts when it loads the file, so it runs what it runs for float32."""
    model = bench("conv")
    names = {wanted: model.export(quantization=wanted) for wanted in ("none", "float16")}
    assert names["none"].metadata["operators"] == names["float16"].metadata["operators"]
    assert read_operators(names["none"].main) == read_operators(names["float16"].main)


def test_weights_that_half_precision_cannot_hold_stay_float32():
    weights = onnx.numpy_helper.from_array(np.full(32, 1e6, "float32"), "large")
    small = onnx.numpy_helper.from_array(np.full(32, 0.5, "float32"), "small")
    graph = onnx.helper.make_graph([], "g", [], [], [weights, small])
    quantization._halve_weights(graph)
    assert [(tensor.name, tensor.data_type) for tensor in graph.initializer] == [("large", 1), ("small/float16", 10)]
    assert [(node.op_type, *node.input, *node.output) for node in graph.node] == [("Cast", "small/float16", "small")]


@pytest.mark.parametrize("calibration", ["minmax", "percentile"])
def test_calibration(bench, calibration, capfd):
    model = bench("conv")
    artifact = model.export(quantization="int8", calibration=calibration)
    assert sqnr_db(model.run(artifact), model.reference()) > 30
    assert capfd.readouterr().out == ""


def test_a_reduced_range_keeps_weights_in_seven_bits(bench):
    model = bench("conv")

    def largest(artifact: Artifact) -> int:
        tensors = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(artifact.main).graph.initializer]
        return max(int(np.abs(array.astype(int)).max()) for array in tensors if array.dtype == np.int8)

    assert largest(model.export(quantization="int8", reduce_range="false")) == 127
    assert largest(model.export(quantization="int8", reduce_range="true")) == 64
    assert largest(model.export(quantization="int8")) == 64


def test_an_int8_file_gives_float_without_a_last_rounding(bench):
    graph = onnx.load(bench("conv").export(quantization="int8").main).graph
    (maker,) = [node for node in graph.node if graph.output[0].name in node.output]
    assert maker.op_type == "MatMul"
    weights = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims]
    assert sorted(len(tensor.dims) for tensor in weights if len(tensor.dims) > 1) == [2, 4, 4]


def test_the_float_file_is_made_once_for_all_targets(bench, monkeypatch):
    model = bench("conv")
    first = model.export(quantization="none").main.read_bytes()
    monkeypatch.setattr(conversion, "convert", None)
    assert model.export(quantization="none").main.read_bytes() == first
    model.export(quantization="int8")
    model.export(quantization="dynamic-int8")


SAME = """
import hashlib, sys
from pathlib import Path
import numpy as np
from edgeopt.api import ExportRequest
from edgeopt.source.model import open_source
from edgeopt.source.choice import resolve_source
from edgeopt_onnxruntime.backend import OnnxRuntime
from edgeopt_onnxruntime.production import Options
from tests.plugins.models import transformer

transformer()  # registers its function
for model in sys.argv[2:]:
    folder = Path(model).parent / sys.argv[1]
    source = open_source(resolve_source(model), folder / "run")
    rng = np.random.default_rng(0)
    feeds = [{s.name: rng.integers(0, 20, s.shape).astype(s.dtype) for s in source.inputs} for _ in range(4)]
    for wanted in ("none", "float16", "dynamic-int8", "int8"):
        out_dir = folder / wanted
        out_dir.mkdir()
        OnnxRuntime().export(ExportRequest(source, out_dir, Options(wanted), feeds, lambda _: None))
        print(hashlib.sha256((out_dir / "model.onnx").read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_same_bytes_in_two_processes(tmp_path):
    models = []
    for name in ("transformer", "captions"):
        (tmp_path / name).mkdir()
        models.append(str(save(MODELS[name][0](), tmp_path / name)))
    said = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        arguments = [sys.executable, "-c", SAME, seed, *models]
        root = Path(__file__).parents[2]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment, cwd=root)
        said.append(done.stdout.split())
    assert said[0] == said[1]
    assert len(set(said[0])) == 8


def test_a_loop_that_no_keras_made(tmp_path):
    rng = np.random.default_rng(0)
    model = open_bench(loop(), [{"x": rng.normal(size=(1, 40)).astype("float32")} for _ in range(16)], tmp_path)
    for wanted in ("int8", "dynamic-int8"):
        artifact = model.export(quantization=wanted)
        assert LOOP_STAYS in artifact.warnings
        assert sqnr_db(model.run(artifact), model.reference()) > 25


def test_an_operator_without_a_counterpart_is_named(tmp_path):
    model = open_bench(odd(), [{"x": np.full((1, 2, 2), 2, "float32")}] * 2, tmp_path)
    with pytest.raises(ExportError, match=r"ONNX has no operator for Igamma$") as caught:
        model.export(quantization="none")
    assert caught.value.hint.startswith("replace the layer that uses it with one that ONNX knows")


@pytest.mark.parametrize("layer", ["grouped", "resizing", "celu"])
def test_what_tf2onnx_alone_gets_wrong(tmp_path, layer):
    """It looks into no function that is marked for XLA, makes 16 of 17, and does not know Expm1."""
    from keras import Input, Sequential, layers

    rng = np.random.default_rng(0)
    made = {
        "grouped": lambda: layers.Conv2D(9, 3, groups=3),
        "resizing": lambda: layers.Resizing(17, 31),
        "celu": lambda: layers.Activation("celu"),
    }[layer]()
    feeds = [{"image": rng.normal(size=(1, 24, 24, 6)).astype("float32")} for _ in range(4)]
    model = open_bench(Sequential([Input((24, 24, 6), name="image"), made]), feeds, tmp_path)
    assert sqnr_db(model.run(model.export(quantization="none")), model.reference()) > 100


def test_weights_that_several_layers_share_are_quantized(tmp_path):
    """ONNX Runtime's quantizer makes names by putting numbers behind a tensor's, which must be free."""
    import keras
    from keras import Input, Sequential, layers

    keras.utils.set_random_seed(7)
    rng = np.random.default_rng(0)
    unrolled = Sequential([Input((12, 5), name="sequence"), layers.LSTM(4, unroll=True)])
    feeds = [{"sequence": rng.normal(size=(1, 12, 5)).astype("float32")} for _ in range(64)]
    model = open_bench(unrolled, feeds, tmp_path)
    artifact = model.export(quantization="int8")
    assert sqnr_db(model.run(artifact), model.reference()) > 12
    assert LOOP_STAYS not in artifact.warnings


def test_every_type_at_the_border(tmp_path):
    import tensorflow as tf

    class Borders(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec((1, 4), tf.int64, name="a"),
                tf.TensorSpec((1, 4), tf.bool, name="b"),
                tf.TensorSpec((1, 4), tf.float32, name="c"),
            ]
        )
        def __call__(self, a: Any, b: Any, c: Any) -> dict[str, Any]:
            return {"same": a, "where": tf.where(b, c, -c), "above": c > 0, "sum": a + 1}

    rng = np.random.default_rng(0)
    feeds = [
        {
            "a": rng.integers(0, 9, (1, 4)),
            "b": rng.integers(0, 2, (1, 4)).astype(bool),
            "c": rng.normal(size=(1, 4)).astype("float32"),
        }
        for _ in range(8)
    ]
    model = open_bench(Borders(), feeds, tmp_path)
    found = model.run(model.export(quantization="none"))
    assert {name: array.dtype.name for name, array in found.items()} == {
        "above": "bool",
        "same": "int64",
        "sum": "int64",
        "where": "float32",
    }
    for name, wanted in model.reference().items():
        np.testing.assert_array_equal(found[name], wanted)


def test_an_answer_stays_when_the_next_is_asked_for(bench):
    model = bench("conv")
    loaded = runner.load(model.export(quantization="none").main, 1)
    loaded.feed(model.evaluation[0])
    loaded.invoke()
    first = loaded.outputs()
    kept = {name: array.copy() for name, array in first.items()}
    loaded.feed(model.evaluation[1])
    loaded.invoke()
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


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


def test_a_quantizer_that_fails_is_one_line(bench, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no such tensor\nand more")

    monkeypatch.setattr(quantization, "static", refuse)
    with pytest.raises(ExportError, match=r"ONNX Runtime's quantizer failed: no such tensor$") as caught:
        bench("conv").export(quantization="int8")
    assert "onnx-float32" in caught.value.hint


def test_a_file_that_does_not_run_is_one_line(bench, monkeypatch):
    monkeypatch.setattr(quantization, "dynamic", lambda *_, **__: b"no model")
    with pytest.raises(ExportError, match=r"the dynamic-int8 file does not run: .+"):
        bench("conv").export(quantization="dynamic-int8")


def test_a_file_that_answers_nonsense_is_told(bench, monkeypatch):
    import keras

    known = bench("lstm")
    other = open_bench(keras.models.clone_model(known.source.keras()), known.calibration, known.folder / "other")
    nonsense = other.export(quantization="none").main.read_bytes()
    monkeypatch.setattr(quantization, "dynamic", lambda *_, **__: nonsense)
    artifact = known.export(quantization="dynamic-int8")
    assert artifact.warnings[0].startswith("with dynamic-int8 the error is as large as the signal (SQNR ")


def test_what_is_missing_is_told_with_the_command(monkeypatch):
    assert OnnxRuntime.unavailable() is None
    monkeypatch.setattr(backend_module, "find_spec", lambda name: None if name == "tf2onnx" else name)
    assert OnnxRuntime.unavailable() == "tf2onnx is not installed: pip install 'edgeopt[onnx]'"
    monkeypatch.setattr(backend_module, "find_spec", lambda _: None)
    assert OnnxRuntime.unavailable() == "onnx, onnxruntime, tf2onnx are not installed: pip install 'edgeopt[onnx]'"


def test_the_runner_needs_numpy_and_onnxruntime_only(bench):
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
heavy = [name for name in ("edgeopt", "edgeopt_onnxruntime", "tensorflow", "keras", "onnx") if name in sys.modules]
print(json.dumps([value.dtype.name, value.shape, heavy, list(model.facts())]))
"""
    arguments = [sys.executable, "-c", code, str(OnnxRuntime.runner), str(artifact.main)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["float32", [1, 5], [], ["onnxruntime"]]


def erfc_model(*nodes: Any) -> Any:
    """A model from `x` to `y`, with the constant `c`."""
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
    constant = onnx.numpy_helper.from_array(np.array(0.7, "float32"), "c")
    graph = onnx.helper.make_graph(list(nodes), "g", tensors[:1], tensors[1:], [constant])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def test_erfc_is_written_with_erf(tmp_path):
    from math import erfc

    node = onnx.helper.make_node
    plain = erfc_model(node("Erfc", ["x"], ["y"]))
    negated = erfc_model(node("Neg", ["x"], ["n"]), node("Mul", ["c", "n"], ["p"]), node("Erfc", ["p"], ["y"]))
    x = np.array([[-1.5, 0.0, 0.75]], "float32")
    for model, factor, operators in (
        (plain, 1.0, ["Erf", "Sub"]),
        (negated, -0.7, ["Neg", "Mul", "Div", "Erf", "Add"]),
    ):
        replace_unknown(model.graph)
        assert [each.op_type for each in model.graph.node] == operators
        file = tmp_path / "erfc.onnx"
        onnx.save(model, file)
        (answer,) = conversion.answers_of(file, [{"x": x}])
        np.testing.assert_allclose(answer["y"], [[erfc(factor * value) for value in x[0]]], atol=1e-6)


def test_exact_gelu_becomes_one_operator(bench):
    assert "Gelu" in read_operators(bench("transformer").export(quantization="none").main).names


def test_canonical_names_do_not_depend_on_the_old_ones():
    node = onnx.helper.make_node

    def model(a: str, b: str, *, turned: bool) -> Any:
        nodes = [node("Relu", ["x"], [a], doc_string=a), node("Tanh", ["x"], [b]), node("Add", [a, b], ["y"])]
        return erfc_model(*(nodes[1::-1] + nodes[2:] if turned else nodes))

    first, second = model("left", "right", turned=False), model("t2_", "t3_", turned=True)
    canonicalise(first)
    canonicalise(second)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert [(each.name, *each.input, *each.output) for each in nodes_of(first.graph)] == [
        ("Relu_1", "x", "t1_"),
        ("Tanh_2", "x", "t2_"),
        ("Add_3", "t1_", "t2_", "y"),
    ]
    assert not first.graph.initializer, "nothing reads the constant"


@pytest.mark.parametrize(
    ("floats", "remark"),
    [
        ((), None),
        (("Erf",), "1 of 9 operators stays float32 (Erf)"),
        (("Mul", "Erf", "Mul"), "3 of 9 operators stay float32 (Erf, Mul)"),
        (tuple("ABCDEFGH"), "8 of 9 operators stay float32 (A, B, C, D, E, F and 2 more)"),
    ],
)
def test_the_remark_about_float_operators(floats, remark):
    assert Operators(("Erf",) * 9, floats).remark == remark


def test_the_targets_fit_the_options():
    check_options_class(Options)
    targets = {name: target for name, target in find_targets().items() if target.backend == "onnxruntime"}
    assert {name: Options(**target.options).quantization for name, target in targets.items()} == {
        "onnx-float32": "none",
        "onnx-int8": "int8",
    }


@pytest.mark.parametrize(
    ("found", "wanted", "is_same"),
    [
        ([1.0, 2.0], [1.0, 2.0], True),
        ([1.0, float("nan")], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0, float("nan")], False),
        ([1.0, float("nan")], [1.0, float("nan")], True),
        ([1.0, float("inf")], [1.0, float("inf")], True),
        ([1.0, float("-inf")], [1.0, float("inf")], False),
        ([1.0, 3.0], [1.0, float("inf")], False),
    ],
)
def test_what_is_no_number_on_one_side_only_is_a_difference(found, wanted, is_same):
    outputs, reference = ({"y": np.array(values, "float32")} for values in (found, wanted))
    with nullcontext() if is_same else pytest.raises(ExportError, match="differs from the source in output 'y'"):
        conversion.compare(outputs, reference, "the file")
