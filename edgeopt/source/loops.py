"""Restore the batch in the loops of a SavedModel.

A model saved for any batch keeps the states of an LSTM or GRU in lists whose elements have an unknown first dimension.
Fixing the batch at the input does not affect them, and converters to TFLite reject such lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def fix_batch(graph: Any, batch: int) -> int:
    """Set the batch in all lists of loops in a SavedModel's protocol buffer; return the number set."""
    bodies = [body.node_def for meta in graph.meta_graphs for body in meta.graph_def.library.function]
    return sum(_repair(nodes, batch) for nodes in bodies)


def _repair(nodes: Iterable[Any], batch: int) -> int:
    """Set the unknown first dimension of all list elements in one function; return the number set."""
    constants = {node.name: node.attr["value"].tensor for node in nodes if node.op == "Const"}
    shapes = {name.split(":")[0] for node in nodes if node.op.startswith("TensorList") for name in node.input}
    return sum(_set_batch(constants[name], batch) for name in shapes if name in constants)


def _set_batch(tensor: Any, batch: int) -> bool:
    """Replace the leading -1 of a shape constant whose other dimensions are known."""
    import tensorflow as tf

    shape = tf.make_ndarray(tensor)
    if shape.ndim != 1 or shape.size == 0 or shape[0] != -1 or not (shape[1:] > 0).all():
        return False
    fixed = shape.copy()
    fixed[0] = batch
    tensor.CopyFrom(tf.make_tensor_proto(fixed))
    return True
