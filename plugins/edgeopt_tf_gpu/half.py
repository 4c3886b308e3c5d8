"""Two ways to float16: rebuild a Keras model in it, or keep a model's graph and halve its weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError
from edgeopt_tf_gpu.saving import save_function

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeopt.api import SourceModel, TensorSpec

SMALLEST_HALVED = 16
"""Constants with fewer elements stay float32: they are not weights, but thresholds and the like."""
LARGEST_FLOAT16 = 65504.0
LARGEST_GRAPH_BYTES = 2**31 - 2**26
"""Maximum size of a SavedModel's graph, with some room to spare."""


def half_of_keras(source: SourceModel, folder: Path, *, xla: bool) -> None:
    """Rebuild the Keras model of `source` with float16 weights and arithmetic, and save it.

    Raises:
        Exception: The source is not a Keras model, or cannot be rebuilt from its configuration.
    """
    import tensorflow as tf

    original = source.keras()
    model = rebuild(original, trusted=source.trusted)
    dtypes = {spec.name: spec.dtype for spec in source.outputs}

    def call(named: Mapping[str, Any]) -> dict[str, Any]:
        given = _arguments(model, named)
        outputs = _named(model, model(given, training=False), source.outputs)
        return {name: tf.cast(tensor, dtypes[name]) for name, tensor in outputs.items()}

    holder = tf.Module()
    holder.weights = [variable.value for variable in model.weights]
    save_function(folder, call, source.inputs, holder, xla=xla)


def rebuild(model: Any, *, trusted: bool) -> Any:
    """Return a copy of a Keras model that stores and computes in float16.

    In a model trained in mixed precision, layers set to float32 on purpose stay float32.
    """
    import keras

    config = keras.saving.serialize_keras_object(model)
    names = {policy["config"]["name"] for policy in _policies(config)}
    mixed = {name for name in names if name.startswith("mixed_")}
    for policy in _policies(config):
        if policy["config"]["name"] in (mixed or names):
            policy["config"]["name"] = "float16"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")  # for layers whose configuration names no dtype
    try:
        copy = keras.saving.deserialize_keras_object(config, safe_mode=not trusted)
    finally:
        keras.config.set_dtype_policy(before)
    _copy_weights(model, copy)
    return copy


def half_of_graph(source: SourceModel, folder: Path, *, xla: bool) -> None:
    """Save the graph of `source` with its weights as float16 constants that are cast back on use.

    TensorFlow folds the casts when it loads the graph, so they cost no time.

    Raises:
        ExportError: The weights are too large for a graph.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(str(source.saved_model()))  # a signature alone does not keep its variables alive
    signature = loaded.signatures["serving_default"]
    names = sorted(signature.structured_outputs)
    frozen = convert_variables_to_constants_v2(signature, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    for node in [node for node in graph.node if node.op == "Placeholder"]:
        graph.node.remove(node)  # the inputs replace them; XLA rejects any that are left over
    _halve_constants(graph)
    if graph.ByteSize() > LARGEST_GRAPH_BYTES:
        raise ExportError("the model is too large for float16 without its Keras code", hint="use precision=float32")
    # A frozen function loses the names; its inputs and outputs are in the order of the sorted names.
    order = sorted(signature.structured_input_signature[1])
    feeds = {name: tensor.name for name, tensor in zip(order, frozen.inputs, strict=True)}

    def call(named: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {feeds[name]: tensor for name, tensor in named.items()}
        tensors = [tensor.name for tensor in frozen.outputs]
        outputs = tf.graph_util.import_graph_def(graph, input_map=inputs, return_elements=tensors, name="")
        return dict(zip(names, outputs, strict=True))

    save_function(folder, call, source.inputs, tf.Module(), xla=xla)


def _halve_constants(graph: Any) -> None:
    """Replace every float32 constant of weight size with a float16 one and a cast that has the old name."""
    import numpy as np
    import tensorflow as tf

    for node in [node for node in graph.node if node.op == "Const"]:
        if node.attr["dtype"].type != tf.float32.as_datatype_enum:
            continue
        value = tf.make_ndarray(node.attr["value"].tensor)
        if value.size < SMALLEST_HALVED or not np.all(np.abs(value) <= LARGEST_FLOAT16):
            continue
        stored = graph.node.add(name=f"{node.name}/float16", op="Const", device=node.device)
        stored.attr["dtype"].type = tf.float16.as_datatype_enum
        stored.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float16)))
        cast = graph.node.add(name=node.name, op="Cast", device=node.device, input=[stored.name, *node.input])
        cast.attr["SrcT"].type = tf.float16.as_datatype_enum
        cast.attr["DstT"].type = tf.float32.as_datatype_enum
        graph.node.remove(node)


def _policies(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every dtype policy in a serialised Keras object."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            yield config
        for value in config.values():
            yield from _policies(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _policies(value)


def _copy_weights(model: Any, copy: Any) -> None:
    """Copy the weights of `model` to `copy`, in the dtypes of `copy`."""
    import numpy as np

    if len(model.weights) != len(copy.weights):
        raise ExportError(f"the copy has {len(copy.weights)} weights, the model {len(model.weights)}")
    for old, new in zip(model.weights, copy.weights, strict=True):
        value = np.asarray(old.numpy())
        if new.dtype == "float16" and not np.all(np.abs(value) <= LARGEST_FLOAT16):
            raise ExportError(f"the weight {old.path} holds numbers that float16 cannot")
        new.assign(value.astype(new.dtype))


def _arguments(model: Any, named: Mapping[str, Any]) -> Any:
    """Return a Keras model's argument from named tensors: one tensor, a list or a dictionary."""
    import keras

    if len(named) == 1:
        return next(iter(named.values()))
    paths = keras.tree.flatten_with_path(model.input)
    names = [path[-1] if isinstance(path[-1], str) else tensor.name for path, tensor in paths]
    order = pair(names, list(named))
    return keras.tree.pack_sequence_as(model.input, [named[name] for name in order])


def _named(model: Any, answer: Any, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """Return a Keras model's outputs by the source's names for them."""
    import keras

    if len(specs) == 1:
        return {specs[0].name: keras.tree.flatten(answer)[0]}
    paths = keras.tree.flatten_with_path(answer)
    layers = getattr(model, "output_names", None) or [""] * len(paths)
    names = [path[-1] if isinstance(path[-1], str) else layer for (path, _), layer in zip(paths, layers, strict=True)]
    order = pair(names, [spec.name for spec in specs])
    return {name: tensor for name, (_, tensor) in zip(order, paths, strict=True)}


def pair(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the name in `wanted`, the source's names, that belongs to each of a model's own `names`.

    The source changes a name only if a signature cannot hold it, and then keeps most of it. So equal names belong
    together, then those that differ only in signs, then those whose source name contains the other, then the last.

    Raises:
        ExportError: The names do not match one to one.
    """
    plain = [re.sub(r"[^A-Za-z0-9_]", "_", name) for name in names]
    found: dict[int, str] = {}
    for rule in range(4):
        for number, own in enumerate(names):
            free = [name for name in wanted if name not in found.values()]
            fits = [
                name
                for name in free
                if (own == name, plain[number] == name, plain[number].strip("_") in name, len(free) == 1)[rule]
            ]
            if fits and number not in found:
                found[number] = fits[0]
    if len(names) != len(wanted) or len(found) != len(names):
        raise ExportError(f"the Keras model has {', '.join(names)}; the source has {', '.join(wanted)}")
    return [found[number] for number in range(len(names))]
