"""The models that backends are checked on, with their feeds and the source's answers.

A child process makes each once per test process, shared by all backends: the test process never imports TensorFlow.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.contract import TensorSpec
from edgeopt.errors import DeviceError, UnavailableError
from edgeopt.source.choice import DEMO, SourceChoice, resolve_source
from edgeopt.testing.machine import ODD, PLAIN, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from edgeopt.contract import Array

SEED = 7
WIDTH, DEPTH = 512, 4
SMALL_BATCH, LARGE_BATCH, HUGE_BATCH = 8, 512, 32_768
"""The model of `_work` takes 1 million multiplications per sample; each batch is 64 times the one before."""
DEMO_IMAGES = 300
"""Number of labelled demo images on which an artifact is judged."""
FEW = 8
"""Number of feeds for checks that do not judge fidelity."""
BUILD_TIMEOUT_S = 900.0

USUAL = ("demo", "ports", "tokens", "small", "large", "odd")
"""Made together, in one process."""
AGAIN = "again"
"""The demo, made from another import of TensorFlow, as in a second run of edgeopt. `huge`, also not in `USUAL`, is
only for a device on which `large` takes hardly longer than `small`."""


@dataclass(frozen=True, slots=True)
class Stocked:
    """One model, ready for export."""

    folder: Path
    choice: SourceChoice
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def source(self) -> Path:
        """The normalised model: the `source` folder of a run."""
        return self.folder / "source"

    @property
    def calibration(self) -> Path:
        """The folder of calibration feeds."""
        return self.folder / "feeds" / "calibration"

    @property
    def evaluation(self) -> Path:
        """The folder of evaluation feeds."""
        return self.folder / "feeds" / "evaluation"

    @property
    def few(self) -> Path:
        """The folder with the first few evaluation feeds."""
        return self.folder / "few"

    def wanted(self) -> dict[str, Array]:
        """Return the source's answers to the evaluation feeds: output name to array."""
        import numpy as np

        with np.load(self.folder / "wanted.npz", allow_pickle=False) as file:
            return {spec.name: file[f"arr_{number}"] for number, spec in enumerate(self.outputs)}

    @classmethod
    def read(cls, folder: Path) -> Stocked:
        """Return the model in a folder that `_build` filled."""
        said = json.loads((folder / "model.json").read_text("utf-8"))
        choice = SourceChoice.from_dict(said["choice"])
        return cls(folder, choice, _specs(said["inputs"]), _specs(said["outputs"]))


def stocked(name: str) -> Stocked:
    """Return a model of the kit; make it on first use.

    Raises:
        UnavailableError: The models cannot be made here.
    """
    folder = _folder()
    if not (folder / name / "model.json").is_file():
        _make(folder, USUAL if name in USUAL else (name,), ODD if name == AGAIN else PLAIN)
    return Stocked.read(folder / name)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edgeopt-checks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _make(folder: Path, names: Sequence[str], place: str) -> None:
    """Make models in a child process of one place."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    run = ["-m", "edgeopt.testing.stock", str(folder), *names]
    log = folder / f"{names[0]}.log"
    try:
        with machine(place).fork(run, log=log, env={**os.environ, **quiet}, memory_limit_bytes=None) as maker:
            maker.ask({}, BUILD_TIMEOUT_S)
    except DeviceError as error:
        message = f"the models to check with cannot be made: {error.message}"
        raise UnavailableError(message, hint=error.hint or "see edgeopt doctor", log=str(log)) from error


def _specs(items: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"]) for item in items)


def _build(name: str, folder: Path) -> None:
    """Make one model, normalise it, and write its feeds and answers; `model.json` last."""
    import numpy as np

    from edgeopt.data import demo_feeds, noise_feeds, read_feeds
    from edgeopt.source.model import open_source

    folder.mkdir()
    batches = {"small": SMALL_BATCH, "large": LARGE_BATCH, "huge": HUGE_BATCH}
    is_demo = name in {"demo", AGAIN}
    model = DEMO if is_demo else _BUILDERS[name](folder)
    choice = resolve_source(str(model), batch=batches.get(name, 1))
    source = open_source(choice, folder)
    if is_demo:
        demo_feeds(source.inputs, folder / "feeds")
        _cut(folder / "feeds" / "evaluation", folder / "shorter", DEMO_IMAGES)
        shutil.rmtree(folder / "feeds" / "evaluation")
        (folder / "shorter").rename(folder / "feeds" / "evaluation")
    else:
        noise_feeds(source.inputs, source.ranges, folder / "feeds", seed=SEED)
    _cut(folder / "feeds" / "evaluation", folder / "few", FEW)
    answers = [source.infer(feed) for feed in read_feeds(folder / "feeds" / "evaluation")]
    wanted = [np.concatenate([np.atleast_1d(answer[spec.name]) for answer in answers]) for spec in source.outputs]
    np.savez(folder / "wanted.npz", *wanted)
    specs = {"inputs": [asdict(s) for s in source.inputs], "outputs": [asdict(s) for s in source.outputs]}
    (folder / "model.json").write_text(json.dumps({"choice": choice.to_dict(), **specs}), "utf-8")


def _cut(feeds: Path, folder: Path, count: int) -> None:
    """Write the first `count` feeds of a folder into another."""
    import numpy as np

    index = json.loads((feeds / "index.json").read_text("utf-8"))
    index["count"] = min(count, index["count"])
    folder.mkdir()
    for file in index["inputs"].values():
        np.save(folder / file, np.load(feeds / file, allow_pickle=False)[: index["count"] * index["batch"]])
    (folder / "index.json").write_text(json.dumps(index), "utf-8")


def _ports(folder: Path) -> Path:
    """Two inputs and two outputs of different shapes, so that none can pass for another."""
    from keras import Input, Model, layers

    image, sensors = Input((8, 8, 3), name="image"), Input((5,), name="sensors")
    joined = layers.Concatenate()([layers.Flatten()(image), sensors])
    hidden = layers.Dense(16, activation="relu")(joined)
    outputs = {"position": layers.Dense(2)(hidden), "kind": layers.Dense(4)(hidden)}
    return _save(Model({"image": image, "sensors": sensors}, outputs), folder)


def _tokens(folder: Path) -> Path:
    """An int32 input that is looked up in a table."""
    from keras import Input, Sequential, layers

    stack = [layers.Embedding(20, 8), layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dense(3)]
    return _save(Sequential([Input((6,), dtype="int32", name="tokens"), *stack]), folder)


def _work(folder: Path) -> Path:
    """An amount of arithmetic that the batch sets."""
    from keras import Input, Sequential, layers

    stack = [layers.Dense(WIDTH, activation="relu") for _ in range(DEPTH - 1)]
    return _save(Sequential([Input((WIDTH,), name="x"), *stack, layers.Dense(WIDTH)]), folder)


def _odd(folder: Path) -> Path:
    """Operators that few runtimes support."""
    import tensorflow as tf

    def odd(x: Any) -> dict[str, Any]:
        share = tf.math.betainc(tf.abs(x) + 0.5, tf.abs(x) + 1.0, tf.sigmoid(x))
        return {"odd": tf.reduce_sum(share, axis=-1) + tf.linalg.det(x)[:, None]}

    model = tf.Module()
    model.function = tf.function(odd, input_signature=[tf.TensorSpec((1, 4, 4), tf.float32, name="x")])
    path = folder / "odd"
    tf.saved_model.save(model, str(path), signatures=model.function.get_concrete_function())
    return path


def _save(model: Any, folder: Path) -> Path:
    """Write a Keras model and return the file."""
    path = folder / "model.keras"
    model.save(path)
    return path


_BUILDERS: dict[str, Callable[[Path], Path]] = {
    "ports": _ports,
    "tokens": _tokens,
    "small": _work,
    "large": _work,
    "huge": _work,
    "odd": _odd,
}


def main() -> None:
    """Make the models named on the command line, in the folder that is its first argument."""
    from edgeopt.source.load import prepare_keras

    answers = os.dup(1)
    os.dup2(2, 1)  # the output of a library is not an answer
    prepare_keras()
    import keras

    for name in sys.argv[2:]:
        keras.utils.set_random_seed(SEED)  # so that `small`, `large` and `huge` have the same weights
        _build(name, Path(sys.argv[1]) / name)
    os.write(answers, b"{}\n")


if __name__ == "__main__":
    main()
