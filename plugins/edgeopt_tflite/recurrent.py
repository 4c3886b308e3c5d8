"""Unrolls recurrent layers: quantizers cannot quantize the body of a WHILE."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError
from edgeopt_tflite.conversion import compare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeopt.api import SourceModel

LONGEST = 256
"""Maximum number of steps to unroll: 128 steps of a bidirectional LSTM took 20 s and 2.2 MB."""


def unrolled(source: SourceModel, feed: Mapping[str, Any]) -> Path:
    """Return a SavedModel of `source` with unrolled recurrent layers, checked against it; made once per run.

    Raises:
        ExportError: The model cannot be unrolled; the message gives the reason.
    """

    def build(folder: Path) -> None:
        model = source.keras()
        layers = list(model._flatten_layers())  # noqa: SLF001 - goes into wrappers and nested models
        loops = [layer for layer in layers if hasattr(layer, "unroll")]
        if not loops:
            raise ExportError("its loop is no recurrent layer of Keras")
        steps = max(spec.shape[1] for spec in source.inputs if len(spec.shape) > 1)
        if steps > LONGEST:
            raise ExportError(f"{steps} steps are more than the {LONGEST} that are unrolled")
        policies = [layer for layer in layers if layer.dtype_policy.name.startswith("mixed_")]
        with _changed(loops, "unroll", True), _changed(policies, "dtype_policy", "float32"):
            _save(model, source, feed, folder)

    return source.once("tflite-unrolled", build)


@contextmanager
def _changed(layers: Sequence[Any], name: str, value: Any) -> Iterator[None]:
    """Set an attribute of the layers while they are traced, then restore it in the shared model."""
    before = [getattr(layer, name) for layer in layers]
    for layer in layers:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            setattr(layer, name, old)


def _save(model: Any, source: SourceModel, feed: Mapping[str, Any], folder: Path) -> None:
    """Trace the model for the source's inputs, check it on `feed`, and save it with the source's names."""
    import tensorflow as tf

    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in source.inputs}

    def numbered(**tensors: Any) -> list[Any]:
        return list(tf.nest.flatten(model(_arranged(model, tensors), training=False)))

    traced = tf.function(numbered, autograph=False).get_concrete_function(**specs)
    if _holds_loop(traced):
        raise ExportError("a loop is left that is no recurrent layer of Keras")
    found = [value.numpy() for value in traced(**{name: tf.constant(feed[name], specs[name].dtype) for name in specs})]
    names = _matched(found, source.infer(feed))

    def named(**tensors: Any) -> dict[str, Any]:
        return dict(zip(names, traced(**tensors), strict=True))

    module = tf.Module()
    module.held = [variable.value for variable in model.weights]
    saved = tf.function(named, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures=saved)


def _holds_loop(function: Any) -> bool:
    """Return whether the traced function, or one that it calls, has a loop: it would crash the converter."""
    graph = function.graph.as_graph_def()
    bodies = [graph.node, *(called.node_def for called in graph.library.function)]
    return any(node.op in {"While", "StatelessWhile"} for body in bodies for node in body)


def _arranged(model: Any, tensors: Mapping[str, Any]) -> Any:
    """Return the tensors in the structure of the model's inputs."""
    structure = getattr(model, "input", None)
    if len(tensors) == 1 and not isinstance(structure, dict):
        return next(iter(tensors.values()))
    import keras

    paths = keras.tree.flatten_with_path(structure)
    names = [path[-1] if path and isinstance(path[-1], str) else getattr(given, "name", "") for path, given in paths]
    try:
        return keras.tree.pack_sequence_as(structure, [tensors[re.sub(r"\W", "_", name)] for name in names])
    except KeyError as error:
        raise ExportError("its inputs have no names to tell them apart") from error


def _matched(found: Sequence[Any], reference: Mapping[str, Any]) -> list[str]:
    """Return the name of every found output: that of the source output with the same values.

    Raises:
        ExportError: An output lacks a counterpart, so unrolling changed the model.
    """
    left = dict(reference)
    names = []
    for array in found:
        reasons = {name: _difference(array, wanted) for name, wanted in left.items()}
        name = next((name for name, reason in reasons.items() if reason is None), None)
        if name is None:
            raise ExportError(next(iter(reasons.values()), None) or "it has more outputs than the source")
        names.append(name)
        del left[name]
    return names


def _difference(array: Any, wanted: Any) -> str | None:
    """Return a message if the array differs from the wanted one, else None."""
    try:
        compare({"output": array}, {"output": wanted}, "the unrolled model")
    except ExportError as error:
        return error.message
    return None
