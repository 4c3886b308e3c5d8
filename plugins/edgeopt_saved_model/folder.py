"""Saves a SavedModel again without its optimizers.

First, optimizers and functions that depend on them are removed from the object graph of the file. Only then is it
loaded, which also opens files that need tf-keras only for their optimizer. The metadata of Keras does not survive
loading, so it is restored afterwards.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.api import ExportError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

PROTO, KERAS_METADATA = "saved_model.pb", "keras_metadata.pb"
STEPS, RATES = {"_iterations", "iterations", "iter"}, {"_learning_rate", "learning_rate"}
"""Names of the two variables that all optimizers of Keras 2 and 3 have."""


@dataclass(frozen=True, slots=True)
class Stripped:
    """The result of saving a SavedModel again."""

    before: Any
    """The original model, loaded without its optimizers."""
    notes: tuple[str, ...]
    """Further losses, as sentences for the user."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The parts to remove from the object graph of a SavedModel."""

    nodes: frozenset[int]
    """Optimizers, and objects that only they hold."""
    functions: frozenset[int]
    """Functions that use a variable of an optimizer."""
    lost: tuple[str, ...]
    """The model's names for those functions."""


def strip_saved_model(source: Path, target: Path) -> Stripped | None:
    """Save the SavedModel at `source` without optimizers, with all its signatures and assets.

    Returns None and writes nothing if there is nothing to remove.

    Raises:
        ExportError: A signature uses a variable of an optimizer.
    """
    import tensorflow as tf

    document = read_proto(source)
    objects = document.meta_graphs[0].object_graph_def
    cut = find_cut(objects)
    if not cut.nodes:
        return None
    _check_signatures(objects, cut)
    _take_out(objects, cut)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        for part in source.iterdir():
            if part.name not in {PROTO, KERAS_METADATA, "fingerprint.pb"}:
                (Path(scratch) / part.name).symlink_to(part.resolve(), target_is_directory=part.is_dir())
        (Path(scratch) / PROTO).write_bytes(document.SerializeToString(deterministic=True))
        loaded = tf.saved_model.load(scratch)
        tf.saved_model.save(loaded, str(target), signatures=dict(loaded.signatures))
    notes = [f"the function {name} trains the model and is gone too" for name in cut.lost]
    return Stripped(loaded, (*notes, *restore_metadata(source, target)))


def read_proto(folder: Path) -> Any:
    """Return the protocol buffer of a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel()
    document.ParseFromString((folder / PROTO).read_bytes())
    return document


def knows_owners(folder: Path) -> bool:
    """Return whether the SavedModel names the owners of its variables; those of TensorFlow 1 do not."""
    return bool(read_proto(folder).meta_graphs[0].object_graph_def.nodes)


def find_cut(objects: Any) -> Cut:
    """Return the parts to remove from an object graph so that no optimizer variable is left."""
    optimizers = {number for number, node in enumerate(objects.nodes) if _is_optimizer(node)}
    slots = {slot.slot_variable_node_id for number in optimizers for slot in objects.nodes[number].slot_variables}
    kept = _reach(objects, [0], stop=optimizers)
    nodes = (_reach(objects, optimizers) | slots) - kept
    functions = {number for number in kept if _bound(objects, objects.nodes[number]) & nodes}
    owners = [node for number, node in enumerate(objects.nodes) if number in kept and not _graph_functions(node)]
    lost = {child.local_name for node in owners for child in node.children if child.node_id in functions}
    return Cut(frozenset(nodes), frozenset(functions), tuple(sorted(lost)))


def _is_optimizer(node: Any) -> bool:
    """Return whether an object is an optimizer: by its contents, since Keras 3 does not name the class."""
    if node.WhichOneof("kind") != "user_object":
        return False
    held = {child.local_name for child in node.children}
    named = node.user_object.identifier in {"optimizer", "experimentalOptimizer"}
    return bool(named or node.slot_variables or (held & STEPS and held & RATES))


def _reach(objects: Any, start: Iterable[int], stop: Collection[int] = ()) -> set[int]:
    """Return the objects that are reachable from `start` as attributes, without entering `stop`."""
    seen: set[int] = set()
    ahead = [number for number in start if number not in stop]
    while ahead:
        number = ahead.pop()
        seen.add(number)
        ahead += [c.node_id for c in objects.nodes[number].children if c.node_id not in seen and c.node_id not in stop]
    return seen


def _graph_functions(node: Any) -> list[str]:
    """Return the names of the graphs behind a function object; empty for any other object."""
    if node.WhichOneof("kind") == "bare_concrete_function":
        return [node.bare_concrete_function.concrete_function_name]
    return list(node.function.concrete_functions) if node.WhichOneof("kind") == "function" else []


def _bound(objects: Any, node: Any) -> set[int]:
    """Return the objects that a function uses."""
    return {b for name in _graph_functions(node) for b in objects.concrete_functions[name].bound_inputs}


def _check_signatures(objects: Any, cut: Cut) -> None:
    """Reject a model in which a signature needs a function that is to be removed."""
    for node in objects.nodes:
        if node.WhichOneof("kind") == "user_object" and node.user_object.identifier == "signature_map":
            for child in node.children:
                if child.node_id in cut.functions:
                    raise ExportError(
                        f"the signature {child.local_name!r} works with the optimizer's variables",
                        hint="save the model for inference without that signature",
                    )


def _take_out(objects: Any, cut: Cut) -> None:
    """Remove a cut from an object graph; numbers stay, so each removed object becomes an empty one."""
    gone = cut.nodes | cut.functions
    for name in [name for name, f in objects.concrete_functions.items() if cut.nodes & set(f.bound_inputs)]:
        del objects.concrete_functions[name]
    for number, node in enumerate(objects.nodes):
        if number in gone:
            node.Clear()
            node.user_object.identifier = "_generic_user_object"
            node.user_object.version.producer = node.user_object.version.min_consumer = 1
            continue
        kept = [child for child in node.children if child.node_id not in gone]
        if len(kept) < len(node.children):
            del node.children[:]
            node.children.extend(kept)


def restore_metadata(source: Path, target: Path) -> list[str]:
    """Give the objects of the new SavedModel the Keras metadata of the old, and return notes on any loss."""
    old, new = read_proto(source), read_proto(target)
    numbers = {}
    for before, after in _pairs(old.meta_graphs[0].object_graph_def, new.meta_graphs[0].object_graph_def):
        numbers[before[0]] = after[0]
        if before[1].WhichOneof("kind") == after[1].WhichOneof("kind") == "user_object":
            after[1].user_object.CopyFrom(before[1].user_object)
            after[1].user_object.metadata = _without_training(before[1].user_object.metadata)
    (target / PROTO).write_bytes(new.SerializeToString(deterministic=True))
    if not (source / KERAS_METADATA).exists():
        return []
    try:
        from tf_keras.protobuf import saved_metadata_pb2
    except ImportError:
        return ["the metadata of Keras 2 is gone too, since tf-keras is not installed"]
    metadata = saved_metadata_pb2.SavedMetadata()
    metadata.ParseFromString((source / KERAS_METADATA).read_bytes())
    kept = [node for node in metadata.nodes if node.node_id in numbers]
    for node in kept:
        node.node_id = numbers[node.node_id]
        node.metadata = _without_training(node.metadata)
    restored = saved_metadata_pb2.SavedMetadata(nodes=sorted(kept, key=lambda node: node.node_id))
    (target / KERAS_METADATA).write_bytes(restored.SerializeToString(deterministic=True))
    return []


def _pairs(old: Any, new: Any) -> Iterator[tuple[tuple[int, Any], tuple[int, Any]]]:
    """Yield the objects at the same place in two object graphs, with their numbers."""
    ahead, seen = [(0, 0)], {0}
    while ahead:
        first, second = ahead.pop()
        yield (first, old.nodes[first]), (second, new.nodes[second])
        places = {child.local_name: child.node_id for child in new.nodes[second].children}
        for child in old.nodes[first].children:
            if child.local_name in places and child.node_id not in seen:
                seen.add(child.node_id)
                ahead.append((child.node_id, places[child.local_name]))


def _without_training(metadata: str) -> str:
    """Return the metadata of a Keras object without its compile settings."""
    try:
        content = json.loads(metadata)
    except ValueError:
        return metadata
    if not isinstance(content, dict) or "training_config" not in content:
        return metadata
    return json.dumps({key: value for key, value in content.items() if key != "training_config"})
