"""Gives an ONNX model the same bytes every time: tf2onnx chooses order and names by chance.

Nodes are put in the order in which the outputs need them, tensors get short names in that order, and what only
describes is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeopt_onnxruntime.graphs import copy, replace, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterator


def canonicalise(model: Any) -> None:
    """Order and name what is in `model`; inputs and outputs keep their names."""
    graph = model.graph
    _settle(graph)
    model.doc_string = ""
    Naming({value.name: value.name for value in (*graph.input, *graph.output)}).rename(graph, outermost=True)


@dataclass(slots=True)
class Naming:
    """Gives names in the order in which it is asked for them."""

    names: dict[str, str]
    """Old name to new name."""
    _taken: set[str] = field(init=False)
    _tensors: int = field(default=0, init=False)
    _nodes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._taken = set(self.names.values())

    def rename(self, graph: Any, *, outermost: bool) -> None:
        """Put a graph in order and give its tensors and nodes new names, those of its subgraphs included."""
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
            if not outermost:  # of two names for one tensor only one has its shape, by chance
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
        """Give a node, what it reads, what is inside it, and what it writes new names, in this order."""
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
        """Return the new name of a tensor; an empty one, a left out argument, stays empty.

        It ends in no digit: ONNX Runtime's quantizer puts numbers behind the names of tensors, and looks only among the
        constants whether a name is free.
        """
        if old and old not in self.names:
            self._tensors += 1
            while f"t{self._tensors}_" in self._taken:
                self._tensors += 1
            self.names[old] = f"t{self._tensors}_"
        return self.names.get(old, "")


def _settle(graph: Any) -> None:
    """Let the first of two outputs that are copies of each other be the one that is computed."""
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
    """Return the nodes that the outputs need, each after those that it reads from."""
    makers = {name: node for node in graph.node for name in node.output}
    ordered: list[Any] = []
    seen: set[int] = set()

    def open_node(node: Any) -> tuple[Any, Iterator[str]]:
        seen.add(id(node))
        return node, iter(_reads(node))

    for value in graph.output:
        # A stack and no recursion: graphs are deeper than Python's own stack.
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
    """Return every tensor that a node reads, what its subgraphs take from outside included."""
    taken = [name for body in subgraphs(node) for name in _captures(body)]
    return [name for name in (*node.input, *taken) if name]


def _captures(graph: Any) -> list[str]:
    """Return what a subgraph takes from outside, in the order in which its outputs need it."""
    nodes = _ordered(graph)
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in nodes for name in node.output}
    read = [name for node in nodes for name in _reads(node)] + [value.name for value in graph.output]
    return list(dict.fromkeys(name for name in read if name not in own))
