"""Reads a Keras model: one step for each layer, and the arrays of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edgeopt.api import SourceModel, TensorSpec

    Step = dict[str, Any]
    Arrays = dict[str, Any]
    Call = tuple[str, int]
    """The name of a layer, and the number of one of its calls."""

ACTIVATIONS = ("elu", "relu", "relu6", "sigmoid", "silu", "softmax", "tanh")
INSTEAD = "export this model with another backend, or build it from the layers that edgeopt-numpy knows"


def read(source: SourceModel) -> tuple[dict[str, Any], Arrays]:
    """Return what to compute, as a document, and the weights by name.

    Raises:
        ExportError: The source is no Keras model, or one that NumPy cannot run here; names the layer.
    """
    import keras

    model = source.keras()
    if isinstance(model, keras.Sequential):
        names = [layer.name for layer in model.layers]
        calls = {(name, 0): [(before, 0)] for name, before in zip(names, ["", *names], strict=False)}
        inputs, outputs = {"input": ("", 0)}, {"output": (names[-1], 0)}
    elif "input_layers" in (config := model.get_config()):
        calls = {
            (layer["name"], number): list(_sources(node))
            for layer in config["layers"]
            for number, node in enumerate(layer["inbound_nodes"])
        }
        inputs, outputs = _ends(config["input_layers"]), _ends(config["output_layers"])
    else:
        raise ExportError("the layers of a subclassed model cannot be read", hint=INSTEAD)
    inputs, outputs = _match("input", inputs, source.inputs), _match("output", outputs, source.outputs)
    walk = Walk(model, calls, {call: name for name, call in inputs.items()})
    ends = {spec.name: {"from": walk.visit(outputs[spec.name]), "dtype": spec.dtype} for spec in source.outputs}
    return {"inputs": sorted(inputs), "steps": walk.steps, "outputs": ends}, walk.weights


class Walk:
    """Goes from the outputs of a model back to its inputs, and writes the steps in the order in which they are done.

    Args:
        model: The Keras model.
        calls: Every call of a layer, with the calls that its inputs come from.
        places: What is known before the first step: the inputs.
    """

    def __init__(self, model: Any, calls: Mapping[Call, list[Call]], places: Mapping[Call, str]) -> None:
        self._model, self._calls, self._places = model, calls, dict(places)
        self.steps: list[Step] = []
        self.weights: Arrays = {}

    def visit(self, call: Call) -> str:
        """Return where the result of a call lies, after writing all steps that lead to it."""
        if call not in self._places:
            place = ""
            before = [self.visit(source) for source in self._calls[call]]
            for step, arrays in _read_layer(self._model.get_layer(call[0])):
                place = f"{len(self.steps)}:{call[0]}"
                stored = {name: f"{call[0]}/{name}" for name in arrays}
                self.steps.append({**step, "from": before, "to": place, "weights": stored})
                self.weights |= {stored[name]: array for name, array in arrays.items()}
                before = [place]
            self._places[call] = place
        return self._places[call]


def _sources(node: Any) -> Iterator[Call]:
    """Yield the calls whose results are arguments of a call, as the model's config writes it."""
    if isinstance(node, dict) and node.get("class_name") == "__keras_tensor__":
        layer, number, _ = node["config"]["keras_history"]
        yield layer, number
    elif isinstance(node, (dict, list, tuple)):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _sources(part)


def _ends(structure: Any) -> dict[str, Call]:
    """Return the inputs or outputs in a model's config: by their key where they are a dictionary, else by layer."""
    if isinstance(structure, dict):
        return {key: (layer, number) for key, (layer, number, _) in structure.items()}
    listed = [structure] if isinstance(structure[0], str) else structure
    return {layer: (layer, number) for layer, number, _ in listed}


def _match(kind: str, found: Mapping[str, Call], specs: Sequence[TensorSpec]) -> dict[str, Call]:
    """Return the ends of a model by the names that edgeopt gives them."""
    if len(found) == len(specs) == 1:
        return {specs[0].name: next(iter(found.values()))}
    if sorted(found) != sorted(spec.name for spec in specs):
        raise ExportError(f"the {kind}s are not named after their layers: {', '.join(found)}", hint=INSTEAD)
    return dict(found)


def _read_layer(layer: Any) -> list[tuple[Step, Arrays]]:
    """Return the steps of one layer: what it does and, where it has one, its activation."""
    kind = type(layer).__name__
    reader = READERS.get(kind) if type(layer).__module__.startswith("keras.") else None
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise ExportError(f"the layer {layer.name} is a {kind}, which NumPy is not taught here", hint=f"known: {known}")
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise ExportError(f"the layer {layer.name} has its channels first", hint=INSTEAD)
    step, arrays = reader(layer)
    activation = _activation(layer)
    if kind == "Activation" or activation is None:
        return [(step, arrays)]
    return [(step, arrays), ({"op": activation, "axis": -1}, {})]


def _activation(layer: Any) -> str | None:
    """Return the name of a layer's activation, None where it has none."""
    import keras

    function = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return None
    name = getattr(function, "__name__", "")
    if name not in ACTIVATIONS or getattr(keras.activations, name, None) is not function:
        raise ExportError(f"the layer {layer.name} has the activation {name or function}", hint=INSTEAD)
    return str(name)


def _arrays(layer: Any, *names: str) -> Arrays:
    """Return those weights of a layer that it has."""
    import numpy as np

    found = {name: getattr(layer, name, None) for name in names}
    return {name: np.asarray(weight) for name, weight in found.items() if weight is not None}


def _convolution(layer: Any) -> tuple[Step, Arrays]:
    if getattr(layer, "groups", 1) != 1:
        raise ExportError(f"the layer {layer.name} has {layer.groups} groups", hint=INSTEAD)
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    step = {
        "op": "depthwise" if depthwise else "convolution",
        "strides": list(layer.strides),
        "dilation": list(layer.dilation_rate),
        "padding": layer.padding,
    }
    return step, _arrays(layer, "kernel", "bias")


def _dense(layer: Any) -> tuple[Step, Arrays]:
    return {"op": "dense"}, _arrays(layer, "kernel", "bias")


def _embedding(layer: Any) -> tuple[Step, Arrays]:
    return {"op": "embedding"}, {"table": _arrays(layer, "embeddings")["embeddings"]}


def _normalization(layer: Any) -> tuple[Step, Arrays]:
    import numpy as np

    if layer.axis not in (-1, len(layer.input.shape) - 1):
        raise ExportError(f"the layer {layer.name} does not normalise the last axis", hint=INSTEAD)
    known = _arrays(layer, "gamma", "beta", "moving_mean", "moving_variance")
    scale = known.get("gamma", 1) / np.sqrt(known["moving_variance"] + layer.epsilon)
    return {"op": "scaling"}, {"scale": scale, "offset": known.get("beta", 0) - known["moving_mean"] * scale}


def _rescaling(layer: Any) -> tuple[Step, Arrays]:
    import numpy as np

    return {"op": "scaling"}, {"scale": np.asarray(layer.scale), "offset": np.asarray(layer.offset)}


def _pooling(layer: Any) -> tuple[Step, Arrays]:
    op = "maximum" if type(layer).__name__.startswith("Max") else "average"
    return {"op": op, "size": list(layer.pool_size), "strides": list(layer.strides), "padding": layer.padding}, {}


def _whole_pooling(layer: Any) -> tuple[Step, Arrays]:
    op = "maximum_of_all" if "Max" in type(layer).__name__ else "average_of_all"
    return {"op": op, "keep": bool(layer.keepdims)}, {}


def _rectifier(layer: Any) -> tuple[Step, Arrays]:
    limit = getattr(layer, "max_value", None)
    step = {
        "op": "rectifier",
        "limit": None if limit is None else float(limit),
        "slope": float(layer.negative_slope),
        "threshold": float(getattr(layer, "threshold", 0)),
    }
    return step, {}


def _activated(layer: Any) -> tuple[Step, Arrays]:
    return {"op": _activation(layer) or "same", "axis": -1}, {}


def _simple(op: str, *settings: str) -> Callable[[Any], tuple[Step, Arrays]]:
    """Return a reader for a layer without weights: some of its settings are all that matters."""
    return lambda layer: ({"op": op, **{name: getattr(layer, name) for name in settings}}, {})


READERS: dict[str, Callable[[Any], tuple[Step, Arrays]]] = {
    "Activation": _activated,
    "Add": _simple("add"),
    "AveragePooling2D": _pooling,
    "BatchNormalization": _normalization,
    "Concatenate": _simple("concatenate", "axis"),
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _convolution,
    "Dropout": _simple("same"),
    "Embedding": _embedding,
    "Flatten": lambda _: ({"op": "reshape", "shape": [-1]}, {}),
    "GaussianNoise": _simple("same"),
    "GlobalAveragePooling2D": _whole_pooling,
    "GlobalMaxPooling2D": _whole_pooling,
    "LeakyReLU": _rectifier,
    "MaxPooling2D": _pooling,
    "Multiply": _simple("multiply"),
    "ReLU": _rectifier,
    "Rescaling": _rescaling,
    "Reshape": lambda layer: ({"op": "reshape", "shape": list(layer.target_shape)}, {}),
    "Softmax": _simple("softmax", "axis"),
    "SpatialDropout2D": _simple("same"),
    "ZeroPadding2D": _simple("pad", "padding"),
}
"""By the name of a layer's class: what writes it as a step and the arrays of its weights."""
