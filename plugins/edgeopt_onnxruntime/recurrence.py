"""Replaces loops that compute an LSTM, GRU or RNN by ONNX's own operators.

tf2onnx recognises the loops of some Keras layers by the exact nodes in their bodies, and so misses those that
TensorFlow traces differently: an LSTM of batch 1, every GRU of Keras 3. This module computes a body's formulas,
whatever its nodes, and compares them with those of the three operators. ONNX Runtime runs these 4 to 8 times faster
than a loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt_onnxruntime.graphs import copy, graphs_of, replace
from edgeopt_onnxruntime.working import Work, computed
from edgeopt_recurrent.cells import match
from edgeopt_recurrent.terms import MATRIX_RANK, Term, is_term

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeopt_recurrent.cells import Cell


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The graph around a loop, as visible from the loop."""

    constants: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """Shapes of all tensors whose sizes are all known."""
    makers: Mapping[str, Any]
    read: frozenset[str]


@dataclass(frozen=True, slots=True)
class Layer:
    """A loop that is a recurrent layer."""

    loop: Any
    cell: Cell
    sequence: str
    initial: tuple[str, ...]
    """States before the first step."""
    finals: tuple[str, ...]
    """The loop's outputs that are the states after the last step; an empty name if unread."""
    stacks: tuple[str, ...]
    """The loop's outputs that hold the first state after each step."""


def fuse_loops(model: Any) -> int:
    """Change the model in place and return the number of replaced loops.

    Nodes must be in execution order. Nodes that only the replaced loops needed remain.
    """
    around = _look_around(model)
    graph = model.graph
    layers = {id(node): _recognise(node, around) for node in graph.node if node.op_type == "Loop"}
    nodes: list[Any] = []
    for node in graph.node:
        layer = layers.get(id(node))
        nodes += [copy(node)] if layer is None else _written(layer, graph, around)
    replace(graph.node, nodes)
    return sum(layer is not None for layer in layers.values())


def _look_around(model: Any) -> Surroundings:
    from onnx import numpy_helper, shape_inference

    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {name: array.shape for name, array in constants.items()}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        sizes = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        if sizes and all(sizes):
            shapes[value.name] = sizes
    makers = {name: node for node in graph.node for name in node.output}
    read = {name for each in graphs_of(graph) for node in each.node for name in node.input}
    read |= {value.name for each in graphs_of(graph) for value in each.output}
    return Surroundings(constants, shapes, makers, frozenset(read))


def _recognise(loop: Any, around: Surroundings) -> Layer | None:
    """Return the layer if the loop is one recurrent layer over a whole sequence, else None."""
    work, states = _worked_out(loop, around)
    ends = _ends(loop)
    found = [work.values.get(ends[number]) for number in states]
    after = [value for value in found if isinstance(value, Term)]
    if len(work.steps) != 1 or len(after) != len(states):
        return None
    ((sequence, step),) = work.steps.items()
    before = [work.values[_body(loop).input[2 + number].name] for number in states]
    if not _runs_through(loop, work, around) or not _fits(loop, sequence, before, around):
        return None
    cell = match(after, before, step)
    if cell is None:
        return None
    kept = [states[place] for place in cell.states]
    carried = len(loop.input) - 2
    stacks = [n for n in range(carried, len(ends)) if work.values.get(ends[n]) is after[cell.states[0]]]
    read = [name if name in around.read else "" for name in loop.output]
    if any(name for number, name in enumerate(read) if number not in {*kept, *stacks}):
        return None
    finals = tuple(read[number] for number in kept)
    initial = tuple(loop.input[2 + number] for number in kept)
    return Layer(loop, cell, sequence, initial, finals, tuple(read[number] for number in stacks if read[number]))


def _body(loop: Any) -> Any:
    return next(attribute.g for attribute in loop.attribute if attribute.name == "body")


def _ends(loop: Any) -> list[str]:
    """Return the body's result for each loop output: the next states first, then the stacked tensors."""
    return [value.name for value in _body(loop).output][1:]


def _worked_out(loop: Any, around: Surroundings) -> tuple[Work, list[int]]:
    """Return the known values of the body's tensors, and the indices of the carried ones that are states."""
    from onnx import numpy_helper

    body = _body(loop)
    values = dict(around.constants) | {each.name: numpy_helper.to_array(each) for each in body.initializer}
    values[body.input[0].name] = Term("Count", ())
    states, outside = [], {}
    for number, (carried, inside, end) in enumerate(zip(loop.input[2:], body.input[2:], _ends(loop), strict=False)):
        start = around.constants.get(carried)
        if end == inside.name and start is None:
            outside[inside.name] = carried
        elif end == inside.name:
            values[inside.name] = start
        elif start is not None and start.shape == () and start.dtype.kind == "i" and start == 0:
            values[inside.name] = Term("Count", ())
        elif len(around.shapes.get(carried, ())) == MATRIX_RANK:
            values[inside.name] = Term("State", around.shapes[carried])
            states.append(number)
    work = Work(values, around.shapes, outside)
    work.take(body.node)
    return work, states


def _runs_through(loop: Any, work: Work, around: Surroundings) -> bool:
    """Return whether counts grow by one, and they alone make the loop continue to its last step."""
    import numpy as np

    body, times = _body(loop), around.constants.get(loop.input[0])
    if times is None or times.size != 1 or not _leaves(loop.input[1], around.makers) <= around.constants.keys():
        return False
    numbers = np.arange(int(times.item()))
    known = {name: value for name, value in work.values.items() if not isinstance(value, Term)}
    known |= {body.input[0].name: numbers, body.input[1].name: numbers >= 0}
    for carried, inside, end in zip(loop.input[2:], body.input[2:], _ends(loop), strict=False):
        count = work.values.get(inside.name)
        if is_term(count, "Count"):
            following = work.values.get(end)
            if not isinstance(following, Term) or following.operator != "Next" or following.operands[0] is not count:
                return False
            known[inside.name] = numbers.astype(around.constants[carried].dtype)
    for node in body.node:
        if all(name in known for name in node.input) and not known.keys() >= {*node.output}:
            known |= zip(node.output, computed(node, [known[name] for name in node.input]), strict=False)
    goes_on = known.get(body.output[0].name)
    return goes_on is not None and bool(np.broadcast_to(goes_on, numbers.shape)[:-1].all())


def _leaves(name: str, makers: Mapping[str, Any]) -> set[str]:
    """Return the tensors without a producing node from which a tensor is computed."""
    leaves, seen, waiting = set(), set(), [name]
    while waiting:
        each = waiting.pop()
        if not each or each in seen:
            continue
        seen.add(each)
        if each in makers:
            waiting += makers[each].input
        else:
            leaves.add(each)
    return leaves


def _fits(loop: Any, sequence: str, before: Iterable[Term], around: Surroundings) -> bool:
    """Return whether the loop takes every step of its sequence, with the batch of its states."""
    length, batch, _ = around.shapes[sequence]
    return int(around.constants[loop.input[0]].item()) == length and all(state.shape[0] == batch for state in before)


def _written(layer: Layer, graph: Any, around: Surroundings) -> list[Any]:
    """Return the nodes of a layer and add its weights to the graph."""
    import numpy as np
    from onnx import helper

    name, cell = layer.loop.name or layer.loop.output[0], layer.cell
    ours, theirs, bias, their_bias = (np.concatenate(parts) for parts in zip(*cell.gates, strict=True))
    weights = [_constant(graph, f"{name}/{part}", array[None]) for part, array in (("W", ours), ("R", theirs))]
    weights.append(_constant(graph, f"{name}/B", np.concatenate([bias, their_bias])[None]))
    first = _constant(graph, f"{name}/first", np.zeros(1, np.int64))
    second = _constant(graph, f"{name}/second", np.ones(1, np.int64))
    before: list[Any] = []
    initial = []
    for number, tensor in enumerate(layer.initial):
        start = around.constants.get(tensor)
        zero = start is not None and not start.any()
        initial.append("" if zero else f"{name}/initial{number}")
        if not zero:
            before.append(helper.make_node("Unsqueeze", [tensor, first], [initial[-1]]))
    stack = f"{name}/stack" if layer.stacks else ""
    finals = [f"{name}/final{number}" if final else "" for number, final in enumerate(layer.finals)]
    made = helper.make_node(
        cell.operator,
        [layer.sequence, *weights, "", *initial],
        [stack, *finals],
        hidden_size=theirs.shape[1],
        **cell.attributes,
    )
    after = [helper.make_node("Squeeze", [stack, second], [each]) for each in layer.stacks]
    after += [
        helper.make_node("Squeeze", [given, first], [wanted])
        for given, wanted in zip(finals, layer.finals, strict=True)
        if wanted
    ]
    return [*before, made, *after]


def _constant(graph: Any, name: str, array: Any) -> str:
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(array, name))
    return name
