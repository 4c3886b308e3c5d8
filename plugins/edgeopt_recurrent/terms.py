"""What the body of a loop computes, as terms of its states and of the step that it reads.

Layers and versions of Keras write one formula with different nodes: biases are split, gates are sliced, a batch of 1 is
squeezed away. A linear term takes all of that in: it is a sum of products with constant matrices, plus a bias. Each
function here gives the term of one operation, or None where there is none.
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
    """Batch and width; the width alone where a batch of 1 was squeezed away; nothing for a count."""
    operands: tuple[Term, ...] = ()
    matrices: tuple[Any, ...] = ()
    """Of a linear term: one for each operand."""
    bias: Any = None
    """Of a linear term."""


Value: TypeAlias = Any
"""A term, or a constant array."""


def is_term(value: Value, *operators: str) -> bool:
    """Tell whether a value is a term of one of some operators."""
    return isinstance(value, Term) and value.operator in operators


def activated(operator: str, value: Value) -> Term | None:
    """Return an activation of a term."""
    return Term(operator, value.shape, (value,)) if isinstance(value, Term) and operator in ACTIVATIONS else None


def columns(term: Term) -> Any:
    """Return the number of each element's column, in the shape of the term."""
    import numpy as np

    return np.broadcast_to(np.arange(term.shape[-1]), term.shape)


def selected(term: Term, chosen: Any) -> Term | None:
    """Return what an operation that only selects and rearranges makes of a term.

    Args:
        term: What it is given.
        chosen: What it makes of the numbers of the columns.
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
    """Return the product of a term with a constant matrix."""
    import numpy as np

    if not isinstance(term, Term) or isinstance(matrix, Term) or matrix.ndim != MATRIX_RANK:
        return None
    if len(term.shape) != MATRIX_RANK or term.operator == "Linear":
        return None
    bias = np.zeros(matrix.shape[1], matrix.dtype)
    return Term("Linear", (term.shape[0], matrix.shape[1]), (term,), (matrix,), bias)


def added(first: Value, second: Value) -> Term | None:
    """Return a sum of two values, of which at least one is a term."""
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


def product(first: Value, second: Value) -> Term | None:
    """Return the product of two terms, element by element."""
    if not isinstance(first, Term) or not isinstance(second, Term) or first.shape != second.shape:
        return None
    return Term("Product", first.shape, (first, second))


def rest(one: Value, term: Value) -> Term | None:
    """Return one minus a term."""
    if isinstance(one, Term) or one.size != 1 or one.reshape(-1)[0] != 1:
        return None
    return Term("Rest", term.shape, (term,))
