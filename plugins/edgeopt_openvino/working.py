"""Computes the values of the tensors in the body of an OpenVINO loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeopt_openvino.toolkit import openvino
from edgeopt_recurrent import terms
from edgeopt_recurrent.terms import Term, Value, is_term

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Key: TypeAlias = tuple[str, int]
"""Unique name of an operator and index of its output."""
LAYOUTS = frozenset({"Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Unsqueeze", "VariadicSplit"})
"""Operators that only select or rearrange."""


@dataclass(slots=True)
class Work:
    """Known values of the tensors in a body; unknown ones are missing."""

    values: dict[Key, Value]
    sequences: Mapping[Key, int]
    """Body inputs that are always the same sequence outside, with the index of the loop's input."""
    steps: dict[int, Term] = field(default_factory=dict)
    """Steps by the index of the loop's input."""

    def at(self, output: Any) -> Value:
        """Return the value of an operator's output, or None if unknown."""
        return self.values.get(key_of(output))

    def take(self, body: Any) -> None:
        """Compute the values of a body's operators."""
        for operator in body.get_ordered_ops():
            kind = operator.get_type_name()
            if kind == "Constant":
                results: Sequence[Value] = [operator.data.copy()]
            elif kind == "Gather" and (step := self._step(operator)) is not None:
                results = [step]
            else:
                given = [self.at(each.get_source_output()) for each in operator.inputs()]
                results = _results(operator, given) if given and all(each is not None for each in given) else []
            named = zip(operator.outputs(), results, strict=False)
            self.values |= {key_of(output): value for output, value in named if value is not None}

    def _step(self, gather: Any) -> Term | None:
        """Return the step that a Gather takes from a sequence, or None."""
        place = self.sequences.get(key_of(gather.input_value(0)))
        axis = self.at(gather.input_value(2))
        if place is None or not is_term(self.at(gather.input_value(1)), "Count") or axis is None or axis.any():
            return None
        sizes = tuple(gather.input_value(0).get_shape())
        return self.steps.setdefault(place, Term("Step", sizes[1:]))


def key_of(output: Any) -> Key:
    """Return the key of an output."""
    return output.get_node().get_name(), output.get_index()


def _results(operator: Any, given: list[Value]) -> Sequence[Value]:
    """Return the values of an operator's outputs, None for unknown ones."""
    known = [value for value in given if isinstance(value, Term)]
    kind = operator.get_type_name()
    if kind in LAYOUTS and len(known) == 1 and given[0] is known[0] and known[0].shape:
        chosen = _computed(operator, [terms.columns(known[0]).astype("float32"), *given[1:]])
        return [terms.selected(known[0], each) for each in chosen]
    if not known:
        return []
    if kind in terms.ACTIVATIONS or kind == "ReLU":
        return [terms.activated("Relu" if kind == "ReLU" else kind, given[0])]
    if kind == "MatMul":
        return [_multiplied(operator, *given)]
    rules: dict[str, Callable[[Value, Value], Term | None]] = {
        "Add": terms.added,
        "Multiply": terms.product,
        "Subtract": terms.rest,
    }
    return [rules[kind](*given)] if kind in rules else []


def _multiplied(operator: Any, term: Value, matrix: Value) -> Term | None:
    attributes = operator.get_attributes()
    if attributes["transpose_a"] or isinstance(matrix, Term):
        return None
    return terms.multiplied(term, matrix.T if attributes["transpose_b"] else matrix)


def _computed(operator: Any, given: Sequence[Any]) -> Sequence[Any]:
    """Return an operator's results for constant operands, or an empty list if they are unknown."""
    import numpy as np

    if any(output.get_partial_shape().is_dynamic for output in operator.outputs()):
        return []
    tensor = openvino().Tensor
    made = [tensor(output.get_element_type(), output.get_shape()) for output in operator.outputs()]
    done = operator.evaluate(made, [tensor(np.array(array, order="C")) for array in given])
    return [each.data.copy() for each in made] if done else []
