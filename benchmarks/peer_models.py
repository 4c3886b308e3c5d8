"""The models on which edgeopt is set beside its peers: four of Keras Applications, an LSTM, a transformer.

Weights are seeded, not trained: time does not depend on them. Activations of batch normalization are set from data, so
that the numbers inside stay in a sensible range and quantization means something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CALIBRATION, EVALUATION = 32, 32
IMAGES = {
    "MobileNetV2": ("mobilenet_v2", "MobileNetV2"),
    "MobileNetV3-Small": ("mobilenet_v3", "MobileNetV3Small"),
    "EfficientNetV2-B0": ("efficientnet_v2", "EfficientNetV2B0"),
    "ResNet50": ("resnet", "ResNet50"),
}
NAMES = (*IMAGES, "LSTM", "transformer")


def build(name: str, folder: Path) -> tuple[Path, Path]:
    """Write the model and its data into `folder` and return both files."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(7)
    random = np.random.default_rng(7)
    count = CALIBRATION + EVALUATION
    if name in IMAGES:
        import keras.applications

        kind = getattr(keras.applications, IMAGES[name][1])
        image = keras.Input((224, 224, 3), name="image")
        model = kind(input_tensor=image, weights=None, classifier_activation=None)
        # Photographs are smooth; white noise would average out in the first layers.
        small = random.uniform(0, 1, (count, 14, 14, 3)).astype("float32")
        images = keras.ops.convert_to_numpy(keras.ops.image.resize(small, (224, 224), "bicubic"))
        inside = name in {"MobileNetV3-Small", "EfficientNetV2-B0"}  # these two rescale by themselves
        arrays = images * 255 if inside else images * 2 - 1
        _settle(model, arrays[:8])
    elif name == "LSTM":
        model = _lstm()
        arrays = random.normal(size=(count, 32, 16)).astype("float32")
    else:
        model = _transformer()
        arrays = random.normal(size=(count, 64, 128)).astype("float32")
    file, data = folder / f"{name}.keras", folder / "feeds.npz"
    model.save(file)
    model.export(folder / "saved_model", verbose=False)
    np.savez(data, **{model.inputs[0].name: arrays})
    return file, data


def _settle(model: Any, arrays: Any) -> None:
    """Give every batch normalization the mean and variance of what it really sees."""
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = 0.0
    for _ in range(3):  # each pass corrects what the layers before it changed
        model(arrays, training=True)


def _lstm() -> Any:
    import keras

    rows = keras.Input((32, 16), batch_size=1, name="rows")
    return keras.Model(rows, keras.layers.Dense(10)(keras.layers.LSTM(128)(rows)))


def _transformer(blocks: int = 4, width: int = 128) -> Any:
    import keras
    from keras import layers

    tokens = keras.Input((64, width), name="tokens")
    x = tokens
    for _ in range(blocks):
        x = layers.LayerNormalization(epsilon=1e-6)(x + layers.MultiHeadAttention(4, width // 4)(x, x))
        x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dense(width)(layers.Dense(4 * width, "gelu")(x)))
    return keras.Model(tokens, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))
