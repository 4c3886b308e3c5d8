"""Find the range of values that each input expects, for feeds of noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.source.inputs import by_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeopt.contract import TensorSpec

    Range = tuple[float, float]

PIXELS: Range = (0.0, 255.0)
SPREAD = 3.0
"""Range of a normalised input to each side of its mean, in standard deviations."""
BYTES: dict[str, Range] = {"uint8": (0.0, 255.0), "int8": (-128.0, 127.0)}


def choose_ranges(
    inputs: Sequence[TensorSpec], found: Mapping[str, Range], given: Mapping[str, Range]
) -> dict[str, Range]:
    """Return the range of every input, both ends included: given, else found in the model, else by dtype."""
    chosen = by_name(given, [spec.name for spec in inputs], "--input-range")
    return {spec.name: chosen.get(spec.name) or found.get(spec.name) or _by_dtype(spec.dtype) for spec in inputs}


def find_ranges(model: Any, names: Sequence[str], structure: Any) -> dict[str, Range]:
    """Return the ranges of inputs that the first layers of a Keras model expect.

    Args:
        model: The model.
        names: The names of its inputs, in the order in which it flattens them.
        structure: The symbolic inputs.
    """
    import keras

    if isinstance(model, keras.Sequential) and model.built:
        return _first(names[0], model.layers)
    if not is_functional(model):
        return {}
    found: dict[str, Range] = {}
    for name, tensor in zip(names, keras.tree.flatten(structure), strict=True):
        found |= _first(name, _consumers(model, tensor))
    return found


def is_functional(model: Any) -> bool:
    """Return whether a Keras model was built from symbolic inputs; Keras lacks a public class for them."""
    return hasattr(model, "_inputs_struct")


def _by_dtype(dtype: str) -> Range:
    if dtype in BYTES:
        return BYTES[dtype]
    return (-1.0, 1.0) if "float" in dtype else (0.0, 1.0)


def _first(name: str, layers: Sequence[Any] | Iterator[Any]) -> dict[str, Range]:
    """Return the range of the first layer that expects one, by input name."""
    for layer in layers:
        expected = _expected_by(layer)
        if expected is not None:
            return {name: expected}
        if not _passes_on(layer):
            break
    return {}


def _expected_by(layer: Any) -> Range | None:
    """Return the range that a layer expects, or None if unknown."""
    import keras
    import numpy as np

    if isinstance(layer, keras.layers.Embedding):
        return (0.0, float(layer.input_dim - 1))
    if isinstance(layer, keras.layers.Rescaling):
        return PIXELS
    if isinstance(layer, keras.layers.Normalization) and getattr(layer, "mean", None) is not None:
        mean, deviation = np.asarray(layer.mean), np.sqrt(np.asarray(layer.variance))
        return (float((mean - SPREAD * deviation).min()), float((mean + SPREAD * deviation).max()))
    if isinstance(layer, keras.Sequential) and layer.built:
        return _first("", layer.layers).get("")
    if is_functional(layer) and len(layer.inputs) == 1:
        return _first("", _consumers(layer, layer.inputs[0])).get("")
    return None


def _passes_on(layer: Any) -> bool:
    """Return whether a layer passes on its input values unchanged."""
    import keras

    return isinstance(layer, (keras.layers.InputLayer, keras.layers.Reshape, keras.layers.Dropout))


def _consumers(model: Any, tensor: Any) -> Iterator[Any]:
    """Yield the layers that consume an input, in the order of the model."""
    for layer in model.layers:
        for node in getattr(layer, "_inbound_nodes", ()):
            if any(source is tensor for source in node.input_tensors):
                yield layer
                break
