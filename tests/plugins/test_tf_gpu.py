"""The tf-gpu backend: what it writes, that it answers as the source, and what its runner says."""

from __future__ import annotations

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
from edgeopt_tf_gpu import half
from edgeopt_tf_gpu.backend import GpuOptions, TfGpu
from tests.plugins.models import MODELS, save
from tests.plugins.running import run_all

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2.4


@dataclass
class Bench:
    """One tiny model and a feed."""

    model: Any
    source: LoadedSource
    feed: dict[str, Any]
    folder: Path

    def export(self, **options: Any) -> Artifact:
        out_dir = self.folder / ("-".join(f"{key}-{value}" for key, value in options.items()) or "default")
        out_dir.mkdir()
        return TfGpu().export(ExportRequest(self.source, out_dir, GpuOptions(**options), [self.feed], lambda _: None))


def open_bench(model: Any, feed: dict[str, Any], folder: Path) -> Bench:
    source = open_source(resolve_source(str(save(model, folder))), folder / "run")
    return Bench(model, source, feed, folder)


def draw(name: str) -> dict[str, Any]:
    return MODELS[name][1](np.random.default_rng(3))


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """Makes a bench once per name."""
    made: dict[str, Bench] = {}

    def get(name: str) -> Bench:
        return made.get(name) or made.setdefault(
            name, open_bench(MODELS[name][0](), draw(name), tmp_path_factory.mktemp(name))
        )

    return get


def weight_bytes(folder: Path) -> int:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    types, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
    return sum(
        int(np.prod(shapes[key])) * types[key].size for key in shapes if key.endswith("/.ATTRIBUTES/VARIABLE_VALUE")
    )


def size_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def must_compile(folder: Path) -> bool:
    """Whether XLA has to compile a function of the SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = document.meta_graphs[0].graph_def.library.function
    return any("_XlaMustCompile" in f.attr and f.attr["_XlaMustCompile"].b for f in functions)


def test_options_and_target():
    check_options_class(GpuOptions)
    assert find_targets()["tf-gpu"].backend == TfGpu.name
    assert TfGpu.unavailable() is None
    assert TfGpu.preferred_devices == ("gpu",)


@pytest.fixture(scope="module")
def artifacts(benches):
    """Four artifacts of the same convolutional model."""
    bench = benches("conv")
    return {
        "default": bench.export(),
        "cpu": bench.export(allow_cpu=True),
        "xla": bench.export(xla=True),
        "float16": bench.export(precision="float16", allow_cpu=True),
    }


@pytest.fixture(scope="module")
def ran(artifacts, benches, tmp_path_factory):
    """What the runner says of each of those artifacts, in one process."""
    feed = benches("conv").feed
    cases = [(TfGpu.runner, artifact.main, feed) for artifact in artifacts.values()]
    return dict(zip(artifacts, run_all(tmp_path_factory.mktemp("ran") / "here", cases), strict=True))


def test_artifact_holds_each_weight_once(artifacts, benches):
    artifact = artifacts["default"]
    assert weight_bytes(artifact.main) == sum(v.numpy().nbytes for v in benches("conv").model.weights)
    folder = artifact.main.parent
    assert {file.relative_to(folder).as_posix() for file in artifact.files} == {
        "settings.json",
        "model/saved_model.pb",
        "model/variables/variables.index",
        "model/variables/variables.data-00000-of-00001",
    }
    assert dict(artifact.metadata) == {
        "precision": "float32",
        "arithmetic": "float32",
        "xla": False,
        "max_abs_error_on_cpu": 0.0,
    }
    assert artifact.warnings == ()
    assert artifact.calibration_feeds == 0


def test_float16_has_half_the_weights(artifacts):
    assert weight_bytes(artifacts["float16"].main) * 2 == weight_bytes(artifacts["default"].main)
    assert artifacts["float16"].metadata["arithmetic"] == "float16"


def test_xla_survives_in_the_file(artifacts):
    assert must_compile(artifacts["xla"].main)
    assert not must_compile(artifacts["default"].main)
    assert weight_bytes(artifacts["xla"].main) == weight_bytes(artifacts["default"].main)


@pytest.mark.parametrize(("name", "tolerance"), [("default", 1e-6), ("cpu", 1e-6), ("xla", 1e-5), ("float16", 1e-2)])
def test_runner_answers_as_the_source(ran, benches, name, tolerance):
    bench = benches("conv")
    wanted = bench.source.infer(bench.feed)
    assert ran[name].outputs.keys() == wanted.keys()
    for output, value in ran[name].outputs.items():
        assert value.dtype == wanted[output].dtype
        np.testing.assert_allclose(value, wanted[output], atol=tolerance)
    assert not ran[name].imported_edgeopt


def test_without_a_gpu_there_is_no_time_to_report(ran, artifacts):
    assert {name: result.untimed for name, result in ran.items()} == {
        "default": "no GPU on this device",
        "cpu": None,
        "xla": "no GPU on this device",
        "float16": None,
    }
    assert all(result.facts == {"placed_on": "CPU"} for result in ran.values())
    assert artifacts["cpu"].warnings == ("measured on the CPU where the device has no GPU (allow_cpu)",)


@pytest.mark.parametrize("name", ["lstm", "captions", "dictionaries", "transformer"])
def test_float16_of_keras_models(benches, name):
    bench = benches(name)
    artifact = bench.export(precision="float16")
    assert artifact.metadata["arithmetic"] == "float16"
    assert weight_bytes(artifact.main) < 0.55 * weight_bytes(bench.source.saved_model())
    assert artifact.warnings == ()


def wide() -> Any:
    """A model that no Keras made, with a weight inside a loop, large enough for its size to be that of the weights."""
    import tensorflow as tf

    class Wide(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            rng = np.random.default_rng(1)
            self.first = tf.Variable(rng.normal(size=(8, 100), scale=0.1).astype("float32"))
            self.again = tf.Variable(rng.normal(size=(100, 100), scale=0.1).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
        def __call__(self, x: Any) -> Any:
            step = lambda i, state: (i + 1, tf.tanh(state @ self.again))  # noqa: E731
            return {"y": tf.while_loop(lambda i, _: i < 3, step, (0, x @ self.first))[1], "mean": tf.reduce_mean(x, 1)}

    return Wide()


@pytest.fixture(scope="module")
def wide_bench(tmp_path_factory):
    feed = {"x": np.random.default_rng(0).normal(size=(1, 8)).astype("float32")}
    return open_bench(wide(), feed, tmp_path_factory.mktemp("wide"))


@pytest.mark.parametrize("xla", [False, True])
def test_float16_without_keras_stores_half_and_says_so(wide_bench, xla):
    artifact = wide_bench.export(precision="float16", xla=xla)
    saved = size_bytes(wide_bench.source.saved_model()) - size_bytes(artifact.main)
    weights = sum(weight.numpy().nbytes for weight in wide_bench.model.variables)
    assert saved > 0.4 * weights
    assert artifact.metadata["arithmetic"] == ("float32" if xla else "mixed")
    assert artifact.warnings[0].startswith("the weights are stored in float16")


def test_mixed_precision_keeps_layers_that_are_float32_on_purpose():
    from keras import Input, Sequential, layers

    stack = [layers.Dense(4, dtype="mixed_float16"), layers.Dense(3, activation="softmax", dtype="float32")]
    copy = half.rebuild(Sequential([Input((6,)), *stack]), trusted=False)
    assert [weight.dtype for weight in copy.weights] == ["float16", "float16", "float32", "float32"]


def test_weights_beyond_float16_are_kept_in_float32(tmp_path):
    model = MODELS["module"][0]()
    model.inner.assign(model.inner * 1e6)
    bench = open_bench(model, draw("module"), tmp_path)
    artifact = bench.export(precision="float16")
    assert artifact.metadata["max_abs_error_on_cpu"] < 1e-2 * np.abs(bench.source.infer(bench.feed)["logits"]).max()


def test_numbers_beyond_float16_are_refused(tmp_path):
    from keras import Input, Sequential, layers

    model = Sequential([Input((8, 8, 3), name="image"), layers.Rescaling(1e6), layers.Flatten(), layers.Dense(2)])
    bench = open_bench(model, draw("conv"), tmp_path)
    with pytest.raises(ExportError, match="numbers that are not finite") as caught:
        bench.export(precision="float16")
    assert "precision=float32" in caught.value.hint


def test_what_xla_cannot_compile_is_named(tmp_path):
    import tensorflow as tf

    class Digits(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32, name="x")])
        def __call__(self, x: Any) -> Any:
            return {"digits": tf.strings.length(tf.strings.as_string(x))}

    bench = open_bench(Digits(), {"x": np.ones((1, 2), "float32")}, tmp_path)
    bench.export()
    with pytest.raises(ExportError, match="AsString") as caught:
        bench.export(xla=True)
    assert "xla=false" in caught.value.hint


@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_on_a_gpu_it_is_timed_and_says_which_gpu_it_was(edgeopt, precision):
    quick = ("--seconds", "0.3", "--min-iterations", "60", "--set", f"precision={precision}")
    code, run = edgeopt.json("export", "-t", "tf-gpu", *quick)
    assert code == 0
    source, row = run["results"]
    facts = row["artifact"]["metadata"]
    assert facts["placed_on"] == "GPU"
    assert facts["accelerator"] == source["artifact"]["metadata"]["accelerator"]
    assert facts["accelerator_peak_bytes"] > row["artifact"]["size_bytes"] / 2
    assert row["latency"]["median_s"] > 0
    assert row["fidelity"]["top1_agreement"] > 0.99
