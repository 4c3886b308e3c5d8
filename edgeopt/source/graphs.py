"""Copy a SavedModel with an edited graph, before anything loads it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GRAPH = "saved_model.pb"


@contextmanager
def edited_copy(folder: Path, scratch: Path, edit: Callable[[Any], int]) -> Iterator[Path | None]:
    """Provide a copy of a SavedModel with an edited graph until the context ends.

    Args:
        folder: The SavedModel.
        scratch: Folder of the copy; must not exist. Weights are linked, not copied.
        edit: Edits the protocol buffer `SavedModel` in place and returns the number of changes.

    Yields:
        The copy, or None if nothing was changed.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graph = SavedModel()
    with suppress(DecodeError):  # loading a broken file reports the error
        if (folder / GRAPH).is_file():
            graph.ParseFromString((folder / GRAPH).read_bytes())
    if not edit(graph):
        yield None
        return
    scratch.mkdir()
    try:
        for item in folder.iterdir():
            if item.name != GRAPH:
                (scratch / item.name).symlink_to(item.resolve())
        (scratch / GRAPH).write_bytes(graph.SerializeToString())
        yield scratch
    finally:
        for item in scratch.iterdir():
            item.unlink()
        scratch.rmdir()


def forget_slots(graph: Any) -> int:
    """Detach the slot variables from their optimizers; return the number of slots.

    To load slots, TensorFlow needs the optimizer's own class, and only `tf-keras` has those of Keras 2. Inference does
    not need slots.
    """
    cut = 0
    for meta in graph.meta_graphs:
        for node in meta.object_graph_def.nodes:
            cut += len(node.slot_variables)
            del node.slot_variables[:]
    return cut
