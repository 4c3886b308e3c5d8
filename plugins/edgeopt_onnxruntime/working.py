"""Computes the values of the tensors in the body of an ONNX loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeopt_recurrent import terms
from edgeopt_recurrent.terms import SEQUENCE_RANK, Term, Value, is_term

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LAYOUTS = frozenset({"Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"})
"""Operators that only select or rearrange."""


@dataclass(slots=True)
class Work:
    """Known values of the tensors in a body; unknown ones are missing."""

    values: dict[str, Value]
    shapes: Mapping[str, tuple[int, ...]]
    """Shapes of the tensors outside."""
    outside: Mapping[str, str] = field(default_factory=dict)
    """Body inputs that are always the same tensor outside, with its name there."""
    steps: dict[str, Term] = field(default_factory=dict)
    """Steps by the name of the sequence."""

    def take(self, nodes: Sequence[Any]) -> None:
        """Compute the values of nodes given in execution order."""
        for node in nodes:
            if node.op_type == "Gather" and (step := self._step(node)) is not None:
                self.values[node.output[0]] = step
            elif all(name in self.values for name in node.input):
                results = _results(node, [self.values[name] for name in node.input])
                named = zip(node.output, results, strict=False)
                self.values |= {name: value for name, value in named if name and value is not None}

    def _step(self, node: Any) -> Term | None:
        """Return the step that a Gather takes from a sequence outside, or None."""
        sequence, index = self.outside.get(node.input[0], node.input[0]), node.input[1]
        sizes, count = self.shapes.get(sequence, ()), self.values.get(index)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if not is_term(count, "Count") or len(sizes) != SEQUENCE_RANK or axis or sequence in self.values:
            return None
        return self.steps.setdefault(sequence, Term("Step", sizes[1:]))


def computed(node: Any, given: Sequence[Any]) -> Sequence[Any]:
    """Return a node's results for constant operands, or an empty list if they are unknown."""
    from onnx.reference import ReferenceEvaluator

    if any(attribute.HasField("g") for attribute in node.attribute):
        return []
    try:
        return list(ReferenceEvaluator(node).run(None, dict(zip(node.input, given, strict=True))))
    except Exception:  # noqa: BLE001 - it raises any type for an unsupported operator
        return []


def _results(node: Any, given: list[Value]) -> Sequence[Value]:
    """Return the values of a node's outputs, None for unknown ones."""
    known = [value for value in given if isinstance(value, Term)]
    if not known:
        return computed(node, given)
    if node.op_type in LAYOUTS and len(known) == 1 and given[0] is known[0] and known[0].shape:
        chosen = computed(node, [terms.columns(known[0]), *given[1:]])
        return [terms.selected(known[0], each) for each in chosen]
    if node.op_type in terms.ACTIVATIONS:
        return [terms.activated(node.op_type, given[0])]
    if node.op_type == "Gemm":
        return [_gemm(node, *given)]
    rules: dict[str, Callable[[Value, Value], Term | None]] = {
        "MatMul": terms.multiplied,
        "Add": terms.added,
        "Mul": terms.product,
        "Sub": terms.rest,
    }
    return [rules[node.op_type](*given)] if node.op_type in rules else []


def _gemm(node: Any, term: Value, matrix: Value, *bias: Value) -> Term | None:
    from onnx import helper

    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("transA") or settings.get("alpha", 1.0) != 1 or settings.get("beta", 1.0) != 1:
        return None
    if settings.get("transB") and not isinstance(matrix, Term):
        matrix = matrix.T
    multiplied = terms.multiplied(term, matrix)
    return terms.added(multiplied, *bias) if bias and multiplied is not None else multiplied
