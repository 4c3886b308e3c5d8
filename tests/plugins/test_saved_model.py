"""The saved-without-optimizer backend: every format loses its optimizer and nothing else."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.api import Artifact, ExportError, ExportRequest
from edgeopt.source.agreement import sample_feed
from edgeopt.source.choice import resolve_source
from edgeopt.source.model import LoadedSource, open_source
from edgeopt.targets import find_targets
from edgeopt_saved_model.backend import NO_OWNERS, NOTHING, SavedWithoutOptimizer, in_words, size_bytes
from edgeopt_saved_model.calls import arguments, results
from edgeopt_saved_model.loading import check_same, load_file
from tests.plugins.running import run_all
from tests.plugins.with_optimizers import CUSTOM, build_files, build_folders, with_adam

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras with NumPy 2.4
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]


@dataclass
class Exported:
    """A source, the artifact that was made of it, and a feed."""

    source: LoadedSource
    artifact: Artifact
    feed: dict[str, Any]

    @property
    def main(self) -> Path:
        return self.artifact.main


def export(path: Path, run: Path, **options: Any) -> Exported:
    source = open_source(resolve_source(str(path), **options), run)
    feed = dict(sample_feed(source.inputs, source.ranges))
    out_dir = run / "out"
    out_dir.mkdir()
    request = ExportRequest(source, out_dir, SavedWithoutOptimizer.Options(), [feed], lambda _: None)
    return Exported(source, SavedWithoutOptimizer().export(request), feed)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    build_files(folder)
    build_folders(folder)
    return folder


WITH_STATE = (
    "trained.keras",
    "trained.h5",
    "nested.keras",
    "nested.h5",
    "listed.keras",
    "keras2.h5",
    "keras2",
    "module",
)
WITHOUT = ("plain.keras", "plain.h5", "exported")


@pytest.fixture(scope="module")
def exported(sources, tmp_path_factory) -> dict[str, Exported]:
    names = (*WITH_STATE, *WITHOUT)
    return {name: export(sources / name, tmp_path_factory.mktemp("run")) for name in names}


@pytest.fixture(scope="module")
def ran(exported, tmp_path_factory):
    """What the runner answers for every artifact, in one process."""
    cases = [(SavedWithoutOptimizer.runner, one.main, one.feed) for one in exported.values()]
    return dict(zip(exported, run_all(tmp_path_factory.mktemp("ran") / "here", cases), strict=True))


def variable_names(path: Path) -> list[str]:
    """Return the names of all variables in a file or folder."""
    import h5py
    import tensorflow as tf

    if path.is_dir():
        return [name for name, _ in tf.train.list_variables(str(path / "variables" / "variables"))]
    found: list[str] = []
    file = io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5")) if path.suffix == ".keras" else path
    with h5py.File(file, "r") as opened:
        opened.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def own(names: list[str]) -> list[str]:
    """Return the names that belong to an optimizer; `nested` has a layer of that name."""
    marks = re.compile("optimizer/(vars|_|iter|beta|decay|learning)|optimizer_weights|OPTIMIZER_SLOT|descent")
    return [name for name in names if marks.search(name) and "layers/optimizer" not in name]


def test_target_and_backend():
    assert find_targets()["saved-without-optimizer"].backend == SavedWithoutOptimizer.name
    assert SavedWithoutOptimizer.unavailable() is None


@pytest.mark.parametrize("name", WITH_STATE)
def test_every_optimizer_variable_is_gone_and_nothing_else(sources, exported, name):
    before, after = variable_names(sources / name), variable_names(exported[name].main)
    assert own(before)
    assert len(set(before) - set(own(before))) == len(after)
    assert not own(after)


@pytest.mark.parametrize("name", WITH_STATE)
def test_the_row_says_what_the_optimizer_took(sources, exported, name):
    before, after = size_bytes(sources / name), size_bytes(exported[name].main)
    artifact = exported[name].artifact
    assert artifact.warnings[0] == f"the optimizer took {in_words(before - after)} of {in_words(before)}"
    assert artifact.metadata["optimizer_bytes"] == before - after > 0
    assert artifact.metadata["source_bytes"] == before
    assert {file.name for file in artifact.files} >= {"settings.json"}


@pytest.mark.parametrize("name", WITHOUT)
def test_without_optimizer_state_it_is_a_copy(sources, exported, name):
    assert exported[name].artifact.warnings == (NOTHING,)
    source, main = sources / name, exported[name].main
    pairs = [(source, main)] if source.is_file() else [(f, main / f.relative_to(source)) for f in source.rglob("*")]
    assert all(second.is_dir() or first.read_bytes() == second.read_bytes() for first, second in pairs)


@pytest.mark.parametrize("name", [*WITH_STATE, *WITHOUT])
def test_runner_answers_as_the_source(exported, ran, name):
    wanted = exported[name].source.infer(exported[name].feed)
    assert ran[name].outputs.keys() == wanted.keys()
    for output, value in ran[name].outputs.items():
        assert value.dtype == wanted[output].dtype
        np.testing.assert_allclose(value, wanted[output], atol=1e-6)
    assert not ran[name].imported_edgeopt
    assert ran[name].untimed is None
    assert ran[name].facts == {"placed_on": "CPU"}


@pytest.mark.parametrize("name", ["trained.keras", "nested.keras", "listed.keras", "trained.h5", "nested.h5"])
def test_plain_keras_loads_it_and_it_has_the_same_weights(sources, exported, name):
    import keras

    loaded = keras.saving.load_model(exported[name].main)
    source = keras.saving.load_model(sources / name, compile=False)
    inside = [layer for layer in loaded.layers if isinstance(layer, keras.Model)]
    assert [getattr(model, "optimizer", None) for model in (loaded, *inside)] == [None] * (1 + len(inside))
    assert [w.path for w in loaded.weights] == [w.path for w in source.weights]
    for first, second in zip(loaded.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_other_members_of_the_archive_keep_their_bytes_and_times(sources, exported):
    with zipfile.ZipFile(sources / "trained.keras") as old, zipfile.ZipFile(exported["trained.keras"].main) as new:
        assert [(e.filename, e.date_time) for e in new.infolist()] == [
            (e.filename, e.date_time) for e in old.infolist()
        ]
        assert new.read("metadata.json") == old.read("metadata.json")
        config = json.loads(old.read("config.json"))
        del config["compile_config"]
        assert json.loads(new.read("config.json")) == config


@pytest.mark.parametrize("name", ["nested.keras", "nested.h5"])
def test_the_same_source_gives_the_same_bytes(sources, exported, name, tmp_path):
    assert export(sources / name, tmp_path).main.read_bytes() == exported[name].main.read_bytes()


def test_custom_model_with_two_optimizers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "doubling.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(tmp_path)
    from doubling import Doubles

    model = Doubles()
    model(np.ones((1, 3), "float32"))
    model.compile()
    for optimizer in (model.first_optimizer, model.second_optimizer):
        optimizer.build(model.trainable_variables)
    model.save("doubles.keras")
    made = export(Path("doubles.keras"), tmp_path / "run", custom_modules=("doubling",))
    assert len(variable_names(made.main)) == 4
    settings = json.loads(made.main.with_name("settings.json").read_text())
    assert settings["custom_modules"] == ["doubling"]
    assert made.artifact.warnings[0].startswith("the optimizer took")


def test_archive_without_a_weights_file_is_refused(sources, tmp_path):
    from edgeopt_saved_model.archive import strip_keras

    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as odd:
        odd.writestr("config.json", "{}")
    with pytest.raises(ExportError, match=r"no model\.weights\.h5"):
        strip_keras(tmp_path / "odd.keras", tmp_path / "new.keras")


def test_other_weights_are_noticed(sources, exported):
    import keras

    model = load_file("keras", sources / "trained.keras", trusted=False)
    other = keras.models.clone_model(model)
    feed = exported["trained.keras"].feed
    first, second = (next(iter(feed.values())) for _ in range(2))
    with pytest.raises(ExportError, match="answers differently in the output y"):
        check_same({"y": model(first)}, {"y": other(second)})


def test_saved_model_keeps_signatures_tables_and_assets(exported):
    import tensorflow as tf

    made = exported["module"]
    loaded = tf.saved_model.load(str(made.main))
    assert sorted(loaded.signatures) == ["again", "serving_default"]
    assert (made.main / "assets" / "words.txt").read_text() == "p\nq\n"
    assert not hasattr(loaded, "train")
    np.testing.assert_array_equal(loaded.ask(tf.ones((2, 6)))["y"], np.full((2, 3), 7.0))
    assert made.artifact.warnings[1:] == ("the function train trains the model and is gone too",)


def test_saved_model_of_keras_2_is_still_one(sources, exported):
    import tf_keras

    loaded = tf_keras.models.load_model(exported["keras2"].main)
    source = tf_keras.models.load_model(sources / "keras2", compile=False)
    assert type(loaded) is type(source)
    assert loaded.optimizer is None
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in source.layers]
    x = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    np.testing.assert_array_equal(loaded(x), source(x))


def test_signature_that_trains_is_refused(sources, tmp_path):
    with pytest.raises(ExportError, match="the signature 'train' works with the optimizer's variables"):
        export(sources / "training", tmp_path)


def test_saved_model_of_tensorflow_1_is_copied_and_says_so(sources, tmp_path):
    made = export(sources / "tensorflow1", tmp_path)
    assert made.artifact.warnings == (NO_OWNERS,)
    assert size_bytes(made.main) == size_bytes(sources / "tensorflow1")


def test_templates_put_tensors_where_they_belong():
    template = {"a": ["x", "y"], "b": "z"}
    filled = arguments(template, {"x": 1, "y": 2, "z": 3})
    assert filled == {"a": [1, 2], "b": 3}
    assert results(template, {"a": (1, 2), "b": 3}) == {"x": 1, "y": 2, "z": 3}


@pytest.mark.parametrize(("size", "words"), [(30_100_000, "30.1 MB"), (2_340, "2.3 kB"), (12, "12 bytes")])
def test_sizes_in_words(size, words):
    assert in_words(size) == words


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mlperf_tiny_ic/pretrainedResnet.h5", "the optimizer took 721.6 kB of 1.1 MB"),
        ("mlperf_tiny_ad/ad01.h5", "the optimizer took 2.2 MB of 3.4 MB"),
    ],
)
def test_trained_files(shared, tmp_path, name, words):
    assert export(shared / "models" / name, tmp_path).artifact.warnings == (words,)


@pytest.mark.shared
def test_trained_saved_model_loads_without_the_library_of_its_optimizer(shared, tmp_path, monkeypatch):
    import sys

    import tensorflow as tf

    made = export(shared / "models" / "mlperf_tiny_kws" / "kws_ref_model", tmp_path)
    assert made.artifact.warnings[0].startswith("the optimizer took 18")
    monkeypatch.setitem(sys.modules, "tf_keras", None)  # TensorFlow cannot load the source like that
    wanted = made.source.infer(made.feed)
    loaded = tf.saved_model.load(str(made.main))
    (given,) = made.feed.values()
    (answer,) = loaded.signatures["serving_default"](tf.constant(given)).values()
    np.testing.assert_allclose(answer, next(iter(wanted.values())), atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_adam_takes_two_thirds(tmp_path, suffix):
    import keras

    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300), keras.layers.Dense(10)])
    with_adam(model, keras).save(tmp_path / f"dense{suffix}")
    metadata = export(tmp_path / f"dense{suffix}", tmp_path / "run").artifact.metadata
    assert 0.62 < metadata["optimizer_bytes"] / metadata["source_bytes"] < 0.67
