"""The models that are judged on other processors: small ones of every kind, and some made to overflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.plugins.models import MODELS, save


def bright(rng: np.random.Generator) -> dict[str, Any]:
    """Pixels near their largest value, as unsigned activations near 255."""
    return {"image": rng.uniform(0.8, 1, (1, 8, 8, 8)).astype("float32")}


def high(rng: np.random.Generator) -> dict[str, Any]:
    return {"x": rng.uniform(0.8, 1, (1, 64)).astype("float32")}


def heavy(model: Any) -> Any:
    """Return a model whose weights all lie near their largest value, so that every sum of two products is large."""
    rng = np.random.default_rng(3)
    for layer in model.layers:
        weights = layer.get_weights()
        if weights:
            inputs = np.prod(weights[0].shape[:-1]) if weights[0].ndim > 1 else 1
            layer.set_weights([rng.uniform(0.9, 1, array.shape) / inputs for array in weights])
    return model


def heavy_dense() -> Any:
    from keras import Input, Sequential, layers

    stack = [layers.Dense(64, activation="relu"), layers.Dense(48, activation="relu"), layers.Dense(5)]
    return heavy(Sequential([Input((64,), name="x"), *stack]))


def uneven(*shape: int) -> Callable[[], Any]:
    """Return what makes dense layers whose columns of weights differ twentyfold in size, on inputs of this shape."""

    def build() -> Any:
        from keras import Input, Sequential, layers

        stack = [layers.Dense(32, activation="relu"), layers.Dense(32, activation="relu"), layers.Dense(6)]
        model = Sequential([Input(shape, name="x"), *stack])
        rng = np.random.default_rng(5)
        for layer in model.layers:
            inputs, units = layer.kernel.shape
            layer.kernel.assign(rng.normal(size=(inputs, units)) * np.geomspace(0.05, 1, units) / inputs**0.5)
        return model

    return build


def heavy_conv() -> Any:
    """Every form of convolution: whole, grouped, depthwise, pointwise, transposed."""
    from keras import Input, Sequential, layers

    stack = [
        layers.Conv2D(16, 3, activation="relu"),
        layers.Conv2D(16, 3, groups=2, activation="relu"),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.Conv2D(24, 1, activation="relu"),
        layers.Conv2DTranspose(8, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(4),
    ]
    return heavy(Sequential([Input((8, 8, 8), name="image"), *stack]))


@dataclass(frozen=True)
class Specimen:
    """A model and how its inputs are drawn: `calibration` of them, then those that it is judged by."""

    path: Callable[[Path], Path]
    """Saves the model into a folder, and returns where it lies."""
    feeds: Callable[[np.random.Generator, tuple[str, ...]], list[dict[str, Any]]]
    """Is given the names of the inputs."""
    calibration: int = 24


def small(build: Callable[[], Any], draw: Callable[[np.random.Generator], dict[str, Any]]) -> Specimen:
    return Specimen(lambda folder: save(build(), folder), lambda rng, _: [draw(rng) for _ in range(36)])


def keyword_spotter(shared: Path) -> Specimen:
    """The trained model of MLPerf Tiny with 200 labelled sounds; see `labels`."""

    def feeds(_: np.random.Generator, names: tuple[str, ...]) -> list[dict[str, Any]]:
        with np.load(shared / SOUNDS) as data:
            sounds = ((data["x_int8"][:300].astype("float32") - data["zero_point"]) * data["scale"]).astype("float32")
        return [{names[0]: sound[None]} for sound in sounds]

    return Specimen(lambda _: shared / "models/mlperf_tiny_kws/kws_ref_model", feeds, calibration=100)


def labels(shared: Path) -> Any:
    """Return the classes of the sounds that the keyword spotter is judged by."""
    with np.load(shared / SOUNDS) as data:
        return data["label"][100:300]


SPOTTER, SOUNDS = "keyword-spotter", "data/kws01/kws01.npz"
HEAVY = {"heavy-dense": small(heavy_dense, high), "heavy-conv": small(heavy_conv, bright)}
UNEVEN = {
    f"uneven-{len(shape)}d": small(
        uneven(*shape), lambda rng, s=shape: {"x": rng.normal(size=(1, *s)).astype("float32")}
    )
    for shape in [(64,), (5, 64)]
}
SMALL = {**HEAVY, **UNEVEN, **{name: small(*pair) for name, pair in MODELS.items()}}
