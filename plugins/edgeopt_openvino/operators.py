"""Finds the operators of a quantized model that still compute in float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeopt_openvino.saving import bodies, operators

CONVOLUTIONS = {f"{group}Convolution{back}" for group in ("", "Group") for back in ("", "BackpropData")}
MATRIX = {*CONVOLUTIONS, "MatMul", "Einsum", "LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell"}
"""Operators that multiply matrices: nearly all of the work. The others are float by design, or follow these."""
SAME_VALUES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "Concat", "StridedSlice"}
SAME_VALUES |= {"Slice", "MaxPool", "Gather", "Pad", "Broadcast", "Tile", "DepthToSpace", "SpaceToDepth"}
"""Operators that pass values through unchanged, including integers."""


@dataclass(frozen=True, slots=True)
class Operators:
    """Number of matrix operators, and the names of those in float."""

    count: int
    floats: tuple[str, ...]

    @property
    def remark(self) -> str | None:
        """Sentence about the float operators of a quantized model, or None."""
        if not self.floats:
            return None
        kinds = ", ".join(sorted(set(self.floats)))
        verb = "stays" if len(self.floats) == 1 else "stay"
        return f"{len(self.floats)} of {self.count} matrix operators {verb} float32 ({kinds})"


def read_operators(model: Any) -> Operators:
    """Count the matrix operators of a model, including those in loop bodies."""
    count = sum(operator.get_type_name() in MATRIX for operator in operators(model))
    floats = [
        operator.get_type_name() + (" in a loop" if outer is not operator else "")
        for outer in model.get_ordered_ops()
        for operator in (outer, *(inner for body in bodies(outer) for inner in operators(body)))
        if operator.get_type_name() in MATRIX and not _in_integers(operator)
    ]
    return Operators(count, tuple(floats))


def has_integer_dense(model: Any) -> bool:
    """Return whether a dense layer computes in integers."""
    return any(operator.get_type_name() == "MatMul" and _in_integers(operator) for operator in operators(model))


def is_quantized(model: Any) -> bool:
    """Return whether NNCF quantized anything."""
    return any(operator.get_type_name() == "FakeQuantize" for operator in model.get_ordered_ops())


def _in_integers(operator: Any) -> bool:
    return all(_is_rounded(operator.input_value(index)) for index in range(2))


def _is_rounded(output: Any) -> bool:
    """Return whether a tensor was rounded to integer steps."""
    node = output.get_node()
    kind = node.get_type_name()
    if kind in SAME_VALUES:
        return _is_rounded(node.input_value(0))
    if kind in {"Multiply", "Subtract", "Convert"}:  # decode weights stored as integers
        return _is_rounded(node.input_value(0))
    return kind == "FakeQuantize" or (kind == "Constant" and int(node.get_element_type().size) == 1)
