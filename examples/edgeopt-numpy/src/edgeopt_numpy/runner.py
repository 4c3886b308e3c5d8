"""Runs the steps of `layers.json` with NumPy; edgeopt copies this file to the device alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def load(path: str, threads: int) -> Model:  # noqa: ARG001 - see there
    """Open the model.

    Args:
        path: `layers.json`; `weights.npz` lies beside it.
        threads: Not needed: edgeopt has told NumPy's libraries already, in the environment of this process.
    """
    graph = json.loads(Path(path).read_text("utf-8"))
    with np.load(Path(path).with_name("weights.npz"), allow_pickle=False) as weights:
        return Model(graph, {name: weights[name].astype(np.float32) for name in weights.files})


class Model:
    """A loaded model: every step is a function, with where its inputs come from and where its result goes."""

    def __init__(self, graph: dict[str, Any], weights: Mapping[str, Any]) -> None:
        self._inputs: list[str] = graph["inputs"]
        self._outputs: dict[str, dict[str, str]] = graph["outputs"]
        self._values: dict[str, Any] = {}
        self._steps: list[tuple[Callable[..., Any], list[str], str]] = []
        for step in graph["steps"]:
            arrays = {name: weights[stored] for name, stored in step["weights"].items()}
            self._steps.append((OPERATIONS[step["op"]](step, **arrays), step["from"], step["to"]))

    def feed(self, inputs: Mapping[str, Any]) -> None:
        """Take the inputs, in the number format that everything is computed in."""
        self._values = {name: np.asarray(inputs[name], np.float32) for name in self._inputs}

    def invoke(self) -> None:
        """Do one step after another; NumPy has finished when a function returns."""
        for function, sources, place in self._steps:
            self._values[place] = function(*(self._values[source] for source in sources))

    def outputs(self) -> dict[str, Any]:
        """Return the outputs, as the source model types them."""
        return {name: self._values[found["from"]].astype(found["dtype"]) for name, found in self._outputs.items()}


def _padded(x: Any, size: list[int], strides: list[int], padding: str, value: float = 0.0) -> Any:
    """Return images with the border that makes the result as large as TensorFlow's."""
    if padding == "valid":
        return x
    border = [(0, 0), (0, 0), (0, 0), (0, 0)]
    for axis in (1, 2):
        length, window, stride = x.shape[axis], size[axis - 1], strides[axis - 1]
        missing = max((-(-length // stride) - 1) * stride + window - length, 0)
        border[axis] = (missing // 2, missing - missing // 2)
    return np.pad(x, border, constant_values=value)


def _spread(kernel: Any, dilation: list[int]) -> list[int]:
    """Return height and width that a kernel covers."""
    return [(length - 1) * step + 1 for length, step in zip(kernel.shape, dilation)]  # noqa: B905 - Python 3.9


def _convolution(step: dict[str, Any], kernel: Any, bias: Any = 0) -> Callable[[Any], Any]:
    (down, right), (dy, dx) = step["strides"], step["dilation"]
    size, matrix = _spread(kernel, step["dilation"]), kernel.reshape(-1, kernel.shape[-1])

    def convolve(x: Any) -> Any:
        x = _padded(x, size, step["strides"], step["padding"])
        windows = sliding_window_view(x, size, axis=(1, 2))[:, ::down, ::right, :, ::dy, ::dx]
        columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)
        return columns @ matrix + bias

    return convolve


def _depthwise(step: dict[str, Any], kernel: Any, bias: Any = 0) -> Callable[[Any], Any]:
    (down, right), (dy, dx) = step["strides"], step["dilation"]
    size = _spread(kernel, step["dilation"])

    def convolve(x: Any) -> Any:
        x = _padded(x, size, step["strides"], step["padding"])
        high, wide = (x.shape[1] - size[0]) // down + 1, (x.shape[2] - size[1]) // right + 1
        total = np.zeros((x.shape[0], high, wide, kernel.shape[2], kernel.shape[3]), np.float32)
        for i, j in np.ndindex(kernel.shape[:2]):
            part = x[:, i * dy :: down, j * dx :: right][:, :high, :wide]
            total += part[..., None] * kernel[i, j]
        return total.reshape(*total.shape[:3], -1) + bias

    return convolve


def _pooling(step: dict[str, Any], reduce: Callable[..., Any], border: float) -> Callable[[Any], Any]:
    down, right = step["strides"]

    def pool(x: Any) -> Any:
        x = _padded(x, step["size"], step["strides"], step["padding"], border)
        return reduce(sliding_window_view(x, step["size"], axis=(1, 2))[:, ::down, ::right], axis=(-2, -1))

    return pool


def _dense(_: dict[str, Any], kernel: Any, bias: Any = 0) -> Callable[[Any], Any]:
    return lambda x: x @ kernel + bias


def _embedding(_: dict[str, Any], table: Any) -> Callable[[Any], Any]:
    return lambda x: table[x.astype(np.int64)]


def _scaling(_: dict[str, Any], scale: Any, offset: Any) -> Callable[[Any], Any]:
    return lambda x: x * scale + offset


def _rectifier(step: dict[str, Any]) -> Callable[[Any], Any]:
    slope, threshold = step["slope"], step["threshold"]
    limit = np.inf if step["limit"] is None else step["limit"]
    if slope == threshold == 0:
        return lambda x: np.clip(x, 0, limit)
    return lambda x: np.where(x >= threshold, np.minimum(x, limit), slope * (x - threshold))


def _softmax(step: dict[str, Any]) -> Callable[[Any], Any]:
    def softmax(x: Any) -> Any:
        powers = np.exp(x - x.max(axis=step["axis"], keepdims=True))
        return powers / powers.sum(axis=step["axis"], keepdims=True)

    return softmax


def _sigmoid(x: Any) -> Any:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # the same function, without overflow


def _reshape(step: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda x: x.reshape(x.shape[0], *step["shape"])


def _pad(step: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda x: np.pad(x, [(0, 0), *step["padding"], (0, 0)])


def _whole(step: dict[str, Any], reduce: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: reduce(x, axis=(1, 2), keepdims=step["keep"])


OPERATIONS: dict[str, Callable[..., Callable[..., Any]]] = {
    "add": lambda _: lambda *parts: sum(parts[1:], parts[0]),
    "average": lambda step: _pooling(step, np.nanmean, np.nan),  # the border counts for nothing
    "average_of_all": lambda step: _whole(step, np.mean),
    "concatenate": lambda step: lambda *parts: np.concatenate(parts, axis=step["axis"]),
    "convolution": _convolution,
    "dense": _dense,
    "depthwise": _depthwise,
    "elu": lambda _: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "embedding": _embedding,
    "maximum": lambda step: _pooling(step, np.max, -np.inf),
    "maximum_of_all": lambda step: _whole(step, np.max),
    "multiply": lambda _: lambda *parts: np.prod(np.stack(np.broadcast_arrays(*parts)), axis=0),
    "pad": _pad,
    "rectifier": _rectifier,
    "relu": lambda _: lambda x: np.maximum(x, 0),
    "relu6": lambda _: lambda x: np.clip(x, 0, 6),
    "reshape": _reshape,
    "same": lambda _: lambda x: x,
    "scaling": _scaling,
    "sigmoid": lambda _: _sigmoid,
    "silu": lambda _: lambda x: x * _sigmoid(x),
    "softmax": _softmax,
    "tanh": lambda _: np.tanh,
}
"""By the name of an operation: what makes a function of it, given its settings and its weights."""
