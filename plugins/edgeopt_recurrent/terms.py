"""Terms for the computation in a loop body, built from its states and the step that it reads.

Layers and versions of Keras write one formula with different nodes: they split biases, slice gates, or squeeze away a
batch of 1. A linear term covers all of these: it is a sum of products with constant matrices, plus a bias. A function
for an operation returns its term, or None if the operation cannot be expressed as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

ACTIVATIONS = frozenset({"Sigmoid", "Tanh", "Relu"})
SEQUENCE_RANK, MATRIX_RANK = 3, 2
"""Time, batch and features; batch and features."""


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A tensor that changes from step to step; the same object means the same tensor."""

    operator: str
    """Count, Next, Step, State, Linear, Sum, Product, Rest (one minus the operand), or an activation."""
    shape: tuple[int, ...]
    """Batch and width; only the width if a batch of 1 was squeezed away; empty for a count."""
    operands: tuple[Term, ...] = ()
    matrices: tuple[Any, ...] = ()
    """One for each operand of a linear term."""
    bias: Any = None
    """Bias of a linear term."""


Value: TypeAlias = Any
"""A term, or a constant array."""


def is_term(value: Value, *operators: str) -> bool:
    """Return whether a value is a term with one of these operators."""
    return isinstance(value, Term) and value.operator in operators


def activated(operator: str, value: Value) -> Term | None:
    """Return the activation of a term."""
    return Term(operator, value.shape, (value,)) if isinstance(value, Term) and operator in ACTIVATIONS else None


def columns(term: Term) -> Any:
    """Return the column index of each element, in the shape of the term."""
    import numpy as np

    return np.broadcast_to(np.arange(term.shape[-1]), term.shape)


def selected(term: Term, chosen: Any) -> Term | None:
    """Return the result of an operation that only selects or rearranges elements.

    Args:
        term: The operand.
        chosen: The result of the operation on `columns(term)`.
    """
    rows = chosen.reshape(-1, *chosen.shape[-1:])
    by_row = chosen.shape[:-1] == term.shape[:-1] or (chosen.ndim == 1 and term.shape[:-1] == (1,))
    if not by_row or not (rows == rows[0]).all():
        return None
    kept = rows[0].astype(int)
    if chosen.shape == term.shape and (kept == columns(term).reshape(rows.shape)[0]).all():
        return term
    if term.operator != "Linear":
        return None
    matrices = tuple(matrix[:, kept] for matrix in term.matrices)
    return Term("Linear", chosen.shape, term.operands, matrices, term.bias[kept])


def multiplied(term: Value, matrix: Value) -> Term | None:
    """Return the product of a term and a constant matrix."""
    import numpy as np

    if not isinstance(term, Term) or isinstance(matrix, Term) or matrix.ndim != MATRIX_RANK:
        return None
    if len(term.shape) != MATRIX_RANK or term.operator == "Linear":
        return None
    bias = np.zeros(matrix.shape[1], matrix.dtype)
    return Term("Linear", (term.shape[0], matrix.shape[1]), (term,), (matrix,), bias)


def added(first: Value, second: Value) -> Term | None:
    """Return the sum of two values, at least one of them a term."""
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
    """Return a term plus a constant: a count plus 1, or a linear term with a new bias."""
    import numpy as np

    if term.operator == "Count":
        return Term("Next", (), (term,)) if constant.shape == () and constant == 1 else None
    if term.operator != "Linear" or constant.size not in {1, term.shape[-1]}:
        return None
    if np.broadcast_shapes(term.shape, constant.shape) != term.shape:
        return None
    return Term("Linear", term.shape, term.operands, term.matrices, term.bias + constant.reshape(-1))


def product(first: Value, second: Value) -> Term | None:
    """Return the elementwise product of two terms."""
    if not isinstance(first, Term) or not isinstance(second, Term) or first.shape != second.shape:
        return None
    return Term("Product", first.shape, (first, second))


def rest(one: Value, term: Value) -> Term | None:
    """Return one minus a term."""
    if isinstance(one, Term) or one.size != 1 or one.reshape(-1)[0] != 1:
        return None
    return Term("Rest", term.shape, (term,))
