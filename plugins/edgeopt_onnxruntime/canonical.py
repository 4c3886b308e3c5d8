"""Makes the bytes of an ONNX model reproducible: tf2onnx chooses order and names arbitrarily.

Nodes are sorted in the order in which the outputs need them, tensors get short names in that order, and purely
descriptive fields are removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeopt_onnxruntime.graphs import copy, replace, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterator


def canonicalise(model: Any) -> None:
    """Sort and rename the contents of `model`; inputs and outputs keep their names."""
    graph = model.graph
    _settle(graph)
    model.doc_string = ""
    Naming({value.name: value.name for value in (*graph.input, *graph.output)}).rename(graph, outermost=True)


@dataclass(slots=True)
class Naming:
    """Assigns names in the order of requests."""

    names: dict[str, str]
    """New names by old name."""
    _taken: set[str] = field(init=False)
    _tensors: int = field(default=0, init=False)
    _nodes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._taken = set(self.names.values())

    def rename(self, graph: Any, *, outermost: bool) -> None:
        """Sort a graph and rename its tensors and nodes, including those of its subgraphs."""
        constants = {tensor.name: tensor for tensor in graph.initializer}
        nodes = [copy(node) for node in _ordered(graph)]
        for value in graph.input:
            value.name = self._new(value.name)
        used = dict.fromkeys(name for node in nodes for name in _reads(node) if name in constants)
        used |= dict.fromkeys(value.name for value in graph.output if value.name in constants)
        for node in nodes:
            self._rename_node(node)
        for value in graph.output:
            value.name = self._new(value.name)
            if not outermost:  # of two names for one tensor, only an arbitrary one has its shape
                value.type.tensor_type.ClearField("shape")
        tensors = [copy(constants[name]) for name in used]
        for tensor in tensors:
            tensor.name = self._new(tensor.name)
        replace(graph.node, nodes)
        replace(graph.initializer, tensors)
        replace(graph.value_info, [])
        graph.doc_string = ""
        graph.name = "edgeopt" if outermost else f"body_{self._nodes}"

    def _rename_node(self, node: Any) -> None:
        """Rename a node's inputs, its subgraphs, its outputs and the node itself, in this order."""
        replace(node.input, [self._new(name) for name in node.input])
        for body in subgraphs(node):
            self.rename(body, outermost=False)
        replace(node.output, [self._new(name) for name in node.output])
        self._nodes += 1
        node.name = f"{node.op_type}_{self._nodes}"
        node.ClearField("doc_string")
        if not node.domain:
            node.ClearField("domain")
        replace(node.attribute, [copy(each) for each in sorted(node.attribute, key=lambda each: each.name)])

    def _new(self, old: str) -> str:
        """Return the new name of a tensor; an empty name, an omitted argument, stays empty.

        The name does not end in a digit: ONNX Runtime's quantizer appends numbers to tensor names, and checks only the
        constants for conflicts.
        """
        if old and old not in self.names:
            self._tensors += 1
            while f"t{self._tensors}_" in self._taken:
                self._tensors += 1
            self.names[old] = f"t{self._tensors}_"
        return self.names.get(old, "")


def _settle(graph: Any) -> None:
    """Compute the first of two outputs that are copies, and copy it to the second."""
    position = {value.name: number for number, value in reversed(list(enumerate(graph.output)))}
    for node in graph.node:
        for body in subgraphs(node):
            _settle(body)
    for twin in [node for node in graph.node if node.op_type == "Identity"]:
        made, copied = twin.input[0], twin.output[0]
        computed = any(made in node.output for node in graph.node)
        if computed and made in position and copied in position and position[copied] < position[made]:
            for node in graph.node:
                replace(node.input, [copied if name == made else name for name in node.input])
                replace(node.output, [copied if name == made else name for name in node.output])
            twin.input[0], twin.output[0] = copied, made


def _ordered(graph: Any) -> list[Any]:
    """Return the nodes that the outputs need, each after the nodes that it reads from."""
    makers = {name: node for node in graph.node for name in node.output}
    ordered: list[Any] = []
    seen: set[int] = set()

    def open_node(node: Any) -> tuple[Any, Iterator[str]]:
        seen.add(id(node))
        return node, iter(_reads(node))

    for value in graph.output:
        # A stack, not recursion: graphs are deeper than Python's own stack.
        first = makers.get(value.name)
        stack = [] if first is None or id(first) in seen else [open_node(first)]
        while stack:
            node, waiting = stack[-1]
            needed = next((makers[name] for name in waiting if name in makers and id(makers[name]) not in seen), None)
            if needed is None:
                ordered.append(node)
                stack.pop()
            else:
                stack.append(open_node(needed))
    return ordered


def _reads(node: Any) -> list[str]:
    """Return every tensor that a node reads, including those that its subgraphs capture."""
    taken = [name for body in subgraphs(node) for name in _captures(body)]
    return [name for name in (*node.input, *taken) if name]


def _captures(graph: Any) -> list[str]:
    """Return the outer tensors that a subgraph captures, in the order in which its outputs need them."""
    nodes = _ordered(graph)
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in nodes for name in node.output}
    read = [name for node in nodes for name in _reads(node)] + [value.name for value in graph.output]
    return list(dict.fromkeys(name for name in read if name not in own))
