"""Recognises an LSTM, GRU or plain recurrent cell in the terms of a loop's next states."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeopt_recurrent.terms import ACTIVATIONS, Term, is_term

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Gate: TypeAlias = tuple[Any, Any, Any, Any]
"""Matrix of the step and matrix of the state, both transposed as ONNX expects, then the bias of each."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One of ONNX's recurrent operators, with its weights."""

    operator: str
    states: tuple[int, ...]
    """Indices of the loop's states: the output state, then for an LSTM the cell state."""
    gates: tuple[Gate, ...]
    """In ONNX order."""
    attributes: dict[str, Any] = field(default_factory=dict)


def match(ends: Sequence[Term], states: Sequence[Term], step: Term) -> Cell | None:
    """Return the cell that computes `ends` from `states` and a step, or None."""
    if len(states) == 1:
        return _gru(ends[0], states[0], step) or _plain(ends[0], states[0], step)
    if len(states) == 2:  # noqa: PLR2004 - the two states of an LSTM
        return _lstm(ends, states, step, (0, 1)) or _lstm(ends, states, step, (1, 0))
    return None


def _lstm(ends: Sequence[Term], states: Sequence[Term], step: Term, order: tuple[int, int]) -> Cell | None:
    """Return the cell if h' = f(o) * h(c') and c' = f(f) * c + f(i) * g(g), else None."""
    (end, cell_end), (state, cell) = ([values[place] for place in order] for values in (ends, states))
    for out, shown in _pairs(end, "Product"):
        if shown.operator not in ACTIVATIONS or shown.operands[0] is not cell_end:
            continue
        for kept, added in _pairs(cell_end, "Sum"):
            forget = next((gate for gate, old in _pairs(kept, "Product") if old is cell), None)
            for enter, new in _pairs(added, "Product"):
                named = (enter, out, forget, new)
                gates = [gate for term in named if (gate := _gate(term, step, state)) is not None]
                if len(gates) == len(named) and forget and enter.operator == out.operator == forget.operator:
                    activations = [enter.operator, new.operator, shown.operator]
                    return Cell("LSTM", order, tuple(gates), {"activations": activations})
    return None


def _gru(end: Term, state: Term, step: Term) -> Cell | None:
    """Return the cell if h' = f(z) * h + (1 - f(z)) * g(...), with the reset before or after the product with h."""
    for kept, added in _pairs(end, "Sum"):
        update = next((gate for gate, old in _pairs(kept, "Product") if old is state), None)
        for rest, new in _pairs(added, "Product"):
            if update is None or rest.operator != "Rest" or rest.operands[0] is not update:
                continue
            reset, hidden, after = _candidate(new, state, step)
            first, second = _gate(update, step, state), _gate(reset, step, state)
            if first and second and hidden and reset and update.operator == reset.operator:
                settings = {"activations": [update.operator, new.operator], "linear_before_reset": after}
                return Cell("GRU", (0,), (first, second, hidden), settings)
    return None


def _candidate(new: Term, state: Term, step: Term) -> tuple[Term | None, Gate | None, int]:
    """Return a GRU's reset gate, the weights of its new state, and 1 if the reset follows the product."""
    if new.operator not in ACTIVATIONS:
        return None, None, 0
    inner = new.operands[0]
    for operand in inner.operands if inner.operator == "Linear" else ():
        for reset, old in _pairs(operand, "Product"):
            if old is state:
                return reset, _weights(inner, step, operand), 0
    for seen, product in _pairs(inner, "Sum"):
        for reset, remembered in _pairs(product, "Product"):
            ours = _weights(seen, step, state) if seen.operands == (step,) else None
            theirs = _weights(remembered, step, state) if remembered.operands == (state,) else None
            if ours is not None and theirs is not None:
                return reset, (ours[0], theirs[1], ours[2], theirs[2]), 1
    return None, None, 0


def _plain(end: Term, state: Term, step: Term) -> Cell | None:
    """Return the cell if h' is an activation of h and the step, else None."""
    gate = _gate(end, step, state)
    return None if gate is None else Cell("RNN", (0,), (gate,), {"activations": [end.operator]})


def _gate(term: Term | None, step: Term, state: Term) -> Gate | None:
    """Return the weights if the term is an activation of a linear term, else None."""
    if term is None or term.operator not in ACTIVATIONS:
        return None
    return _weights(term.operands[0], step, state)


def _weights(term: Term, step: Term, state: Term) -> Gate | None:
    """Return the weights of a linear term of step and state; the step gets the whole bias."""
    import numpy as np

    if not is_term(term, "Linear") or not {*term.operands} <= {step, state}:
        return None
    parts = dict(zip(term.operands, term.matrices, strict=True))
    width, kind = term.shape[-1], term.bias.dtype
    ours, theirs = (parts.get(each, np.zeros((each.shape[-1], width), kind)).T for each in (step, state))
    return ours, theirs, term.bias, np.zeros(width, kind)


def _pairs(term: Term, operator: str) -> Iterator[tuple[Term, Term]]:
    """Yield the operands of a term in both orders if it has this operator."""
    if term.operator == operator:
        yield from permutations(term.operands, 2)
