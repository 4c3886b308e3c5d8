"""Works out what the body of a loop computes, as terms of its states and of the step that it reads.

Layers and versions of Keras write one formula with different nodes: biases are split, gates are sliced, a batch of 1 is
squeezed away. A linear term takes all of that in: it is a sum of products with constant matrices, plus a bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ACTIVATIONS = frozenset({"Sigmoid", "Tanh", "Relu"})
LAYOUTS = frozenset({"Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"})
"""Operators that select or rearrange."""
SEQUENCE_RANK, MATRIX_RANK = 3, 2
"""Time, batch and features; batch and features."""


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A tensor that changes from step to step; the same object means the same tensor."""

    operator: str
    """Count, Next, Step, State, Linear, Sum, Product, Rest (one minus the operand), or an activation."""
    shape: tuple[int, ...]
    """Batch and width; the width alone where a batch of 1 was squeezed away; nothing for a count."""
    operands: tuple[Term, ...] = ()
    matrices: tuple[Any, ...] = ()
    """Of a linear term: one for each operand."""
    bias: Any = None
    """Of a linear term."""
    sequence: str = ""
    """Of a step: the tensor of all steps."""


Value: TypeAlias = Any
"""A term, or a constant array."""


@dataclass(slots=True)
class Work:
    """The values of the tensors in a body, as far as they can be told; what is unknown is missing."""

    values: dict[str, Value]
    shapes: Mapping[str, tuple[int, ...]]
    """Of the tensors outside."""
    outside: Mapping[str, str] = field(default_factory=dict)
    """The inputs of the body that always are one tensor outside, and its name there."""
    steps: dict[str, Term] = field(default_factory=dict)
    """By the name of the sequence."""

    def take(self, nodes: Sequence[Any]) -> None:
        """Work out what some nodes compute, which are in the order in which they run."""
        for node in nodes:
            if node.op_type == "Gather" and (step := self._step(node)) is not None:
                self.values[node.output[0]] = step
            elif all(name in self.values for name in node.input):
                results = _results(node, [self.values[name] for name in node.input])
                self.values |= {name: value for name, value in zip(node.output, results, strict=False) if name}

    def _step(self, node: Any) -> Term | None:
        """Return the step that a Gather takes from a sequence outside, if it does."""
        sequence, index = self.outside.get(node.input[0], node.input[0]), node.input[1]
        sizes, count = self.shapes.get(sequence, ()), self.values.get(index)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if not is_term(count, "Count") or len(sizes) != SEQUENCE_RANK or axis or sequence in self.values:
            return None
        return self.steps.setdefault(sequence, Term("Step", sizes[1:], sequence=sequence))


def is_term(value: Value, *operators: str) -> bool:
    """Tell whether a value is a term of one of some operators."""
    return isinstance(value, Term) and value.operator in operators


def _results(node: Any, given: list[Value]) -> Sequence[Value]:
    """Return the values of a node's outputs, or nothing where they cannot be told."""
    terms = [value for value in given if isinstance(value, Term)]
    if not terms:
        return computed(node, given)
    if node.op_type in LAYOUTS and len(terms) == 1 and given[0] is terms[0]:
        return _selected(node, terms[0], given[1:])
    if node.op_type in ACTIVATIONS:
        return [Term(node.op_type, terms[0].shape, (terms[0],))]
    rules: dict[str, Callable[..., Term | None]] = {
        "MatMul": _product_with_matrix,
        "Gemm": _gemm,
        "Add": _sum,
        "Mul": _product,
        "Sub": _rest,
    }
    result = rules[node.op_type](node, *given) if node.op_type in rules else None
    return [] if result is None else [result]


def computed(node: Any, given: Sequence[Any]) -> Sequence[Any]:
    """Return what a node makes of constants, or nothing where that cannot be told."""
    from onnx.reference import ReferenceEvaluator

    if any(attribute.HasField("g") for attribute in node.attribute):
        return []
    try:
        return list(ReferenceEvaluator(node).run(None, dict(zip(node.input, given, strict=True))))
    except Exception:  # noqa: BLE001 - it raises whatever it likes about an operator that it does not know
        return []


def _selected(node: Any, term: Term, settings: list[Value]) -> Sequence[Value]:
    """Return the columns of a term that a node selects: it is tried with the columns' numbers."""
    import numpy as np

    if not term.shape:
        return []
    numbers = np.broadcast_to(np.arange(term.shape[-1]), term.shape)
    results: list[Value] = []
    for chosen in computed(node, [numbers, *settings]):
        rows = chosen.reshape(-1, *chosen.shape[-1:])
        by_row = chosen.shape[:-1] == term.shape[:-1] or (chosen.ndim == 1 and term.shape[:-1] == (1,))
        if not by_row or not (rows == rows[0]).all():
            return []
        if chosen.shape == term.shape and (rows[0] == numbers.reshape(rows.shape)[0]).all():
            results.append(term)
        elif term.operator == "Linear":
            matrices = tuple(matrix[:, rows[0]] for matrix in term.matrices)
            results.append(Term("Linear", chosen.shape, term.operands, matrices, term.bias[rows[0]]))
        else:
            return []
    return results


def _product_with_matrix(_: Any, term: Value, matrix: Value) -> Term | None:
    import numpy as np

    if not isinstance(term, Term) or isinstance(matrix, Term) or matrix.ndim != MATRIX_RANK:
        return None
    if len(term.shape) != MATRIX_RANK or term.operator == "Linear":
        return None
    bias = np.zeros(matrix.shape[1], matrix.dtype)
    return Term("Linear", (term.shape[0], matrix.shape[1]), (term,), (matrix,), bias)


def _gemm(node: Any, term: Value, matrix: Value, *added: Value) -> Term | None:
    from onnx import helper

    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("transA") or settings.get("alpha", 1.0) != 1 or settings.get("beta", 1.0) != 1:
        return None
    if settings.get("transB") and not isinstance(matrix, Term):
        matrix = matrix.T
    product = _product_with_matrix(node, term, matrix)
    return _sum(node, product, *added) if added and product is not None else product


def _sum(_: Any, first: Value, second: Value) -> Term | None:
    if not isinstance(first, Term):
        first, second = second, first
    if not isinstance(second, Term):
        return _shifted(first, second)
    shape = max(first.shape, second.shape, key=len)
    if not shape or first.shape[-1:] != second.shape[-1:]:
        return None
    if first.operator != "Linear" or second.operator != "Linear":
        return Term("Sum", shape, (first, second))
    parts = dict(zip(first.operands, first.matrices, strict=True))
    for operand, matrix in zip(second.operands, second.matrices, strict=True):
        parts[operand] = parts[operand] + matrix if operand in parts else matrix
    return Term("Linear", shape, tuple(parts), tuple(parts.values()), first.bias + second.bias)


def _shifted(term: Term, constant: Any) -> Term | None:
    """Return a term plus a constant: a count plus 1, or a linear term with another bias."""
    import numpy as np

    if term.operator == "Count":
        return Term("Next", (), (term,)) if constant.shape == () and constant == 1 else None
    if term.operator != "Linear" or constant.size not in {1, term.shape[-1]}:
        return None
    if np.broadcast_shapes(term.shape, constant.shape) != term.shape:
        return None
    return Term("Linear", term.shape, term.operands, term.matrices, term.bias + constant.reshape(-1))


def _product(_: Any, first: Value, second: Value) -> Term | None:
    if not isinstance(first, Term) or not isinstance(second, Term) or first.shape != second.shape:
        return None
    return Term("Product", first.shape, (first, second))


def _rest(_: Any, one: Value, term: Value) -> Term | None:
    if isinstance(one, Term) or one.size != 1 or one.reshape(-1)[0] != 1:
        return None
    return Term("Rest", term.shape, (term,))
