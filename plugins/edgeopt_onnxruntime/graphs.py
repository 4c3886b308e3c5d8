"""Walks over the nodes of an ONNX graph, including those in loop and branch bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WITH_BODIES = frozenset({"If", "Loop", "Scan"})
RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "FusedConv"})


def subgraphs(node: Any) -> list[Any]:
    """Return the graphs inside a node, sorted by attribute name."""
    found = [attribute for attribute in node.attribute if attribute.HasField("g")]
    return [attribute.g for attribute in sorted(found, key=lambda attribute: attribute.name)]


def graphs_of(graph: Any) -> Iterator[Any]:
    """Yield a graph and all graphs inside it."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from graphs_of(body)


def nodes_of(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of all graphs inside it."""
    for each in graphs_of(graph):
        yield from each.node


def has_loop(graph: Any) -> bool:
    """Return whether a graph contains a loop or a branch."""
    return any(node.op_type in WITH_BODIES for node in graph.node)


def is_recurrent(graph: Any) -> bool:
    """Return whether a graph has a recurrent layer, as an operator or a loop."""
    return has_loop(graph) or any(node.op_type in RECURRENT for node in graph.node)


def has_convolution(graph: Any) -> bool:
    """Return whether a graph has a convolution outside loops."""
    return any(node.op_type in CONVOLUTIONS for node in graph.node)


def has_attention(graph: Any) -> bool:
    """Return whether two computed tensors are multiplied as matrices."""
    constants = {tensor.name for tensor in graph.initializer}
    return any(node.op_type == "MatMul" and constants.isdisjoint(node.input) for node in graph.node)


def replace(repeated: Any, values: list[Any]) -> None:
    """Replace the contents of a repeated field by `values`."""
    del repeated[:]
    repeated.extend(values)


def copy(message: Any) -> Any:
    """Return a copy that survives clearing the list that holds the message."""
    twin = type(message)()
    twin.CopyFrom(message)
    return twin
