"""Puts the batch back into the loops of a SavedModel.

A model that was saved for any batch keeps the states of an LSTM or GRU in lists whose elements have an unknown first
dimension. A fixed batch at the input does not reach them, and no converter to TFLite accepts such lists.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

GRAPH = "saved_model.pb"


@contextmanager
def repaired_copy(folder: Path, batch: int, scratch: Path) -> Iterator[Path | None]:
    """Give a copy of a SavedModel whose loops know the batch, for as long as the context lasts.

    Args:
        folder: The SavedModel.
        batch: The batch.
        scratch: Where the copy goes; must not exist. Weights are linked, not copied.

    Yields:
        The copy, or None when there is nothing to repair.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graph = SavedModel()
    if (folder / GRAPH).is_file():
        graph.ParseFromString((folder / GRAPH).read_bytes())
    bodies = [body.node_def for meta in graph.meta_graphs for body in meta.graph_def.library.function]
    if not sum(_repair(nodes, batch) for nodes in bodies):
        yield None
        return
    scratch.mkdir()
    try:
        for item in folder.iterdir():
            if item.name != GRAPH:
                (scratch / item.name).symlink_to(item)
        (scratch / GRAPH).write_bytes(graph.SerializeToString())
        yield scratch
    finally:
        for item in scratch.iterdir():
            item.unlink()
        scratch.rmdir()


def _repair(nodes: Iterable[Any], batch: int) -> int:
    """Set the unknown first dimension of the elements of every list in one function; return how many were set."""
    constants = {node.name: node.attr["value"].tensor for node in nodes if node.op == "Const"}
    shapes = {name.split(":")[0] for node in nodes if node.op.startswith("TensorList") for name in node.input}
    return sum(_set_batch(constants[name], batch) for name in shapes if name in constants)


def _set_batch(tensor: Any, batch: int) -> bool:
    """Replace the leading -1 of a constant that is a shape with all other dimensions known."""
    import tensorflow as tf

    shape = tf.make_ndarray(tensor)
    if shape.ndim != 1 or shape.size == 0 or shape[0] != -1 or not (shape[1:] > 0).all():
        return False
    fixed = shape.copy()
    fixed[0] = batch
    tensor.CopyFrom(tf.make_tensor_proto(fixed))
    return True
