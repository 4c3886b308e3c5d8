"""Which operators of a quantized model still compute in float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeopt_openvino.saving import bodies, operators

CONVOLUTIONS = {f"{group}Convolution{back}" for group in ("", "Group") for back in ("", "BackpropData")}
MATRIX = {*CONVOLUTIONS, "MatMul", "Einsum", "LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell"}
"""What multiplies matrices: nearly all of the work. Everything else is float by design, or goes along with these."""
SAME_VALUES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "Concat", "StridedSlice"}
SAME_VALUES |= {"Slice", "MaxPool", "Gather", "Pad", "Broadcast", "Tile", "DepthToSpace", "SpaceToDepth"}
"""They hand on the values that they get, integers included."""


@dataclass(frozen=True, slots=True)
class Operators:
    """How many operators multiply matrices, and the names of those that do it in float."""

    count: int
    floats: tuple[str, ...]

    @property
    def remark(self) -> str | None:
        """A sentence about what a quantized model leaves in float, or None."""
        if not self.floats:
            return None
        kinds = ", ".join(sorted(set(self.floats)))
        verb = "stays" if len(self.floats) == 1 else "stay"
        return f"{len(self.floats)} of {self.count} matrix operators {verb} float32 ({kinds})"


def read_operators(model: Any) -> Operators:
    """Count the matrix operators of a model, those in the bodies of loops included."""
    count = sum(operator.get_type_name() in MATRIX for operator in operators(model))
    floats = [
        operator.get_type_name() + (" in a loop" if outer is not operator else "")
        for outer in model.get_ordered_ops()
        for operator in (outer, *(inner for body in bodies(outer) for inner in operators(body)))
        if operator.get_type_name() in MATRIX and not _in_integers(operator)
    ]
    return Operators(count, tuple(floats))


def has_integer_dense(model: Any) -> bool:
    """Tell whether a dense layer computes in integers."""
    return any(operator.get_type_name() == "MatMul" and _in_integers(operator) for operator in operators(model))


def is_quantized(model: Any) -> bool:
    """Tell whether NNCF found anything to quantize."""
    return any(operator.get_type_name() == "FakeQuantize" for operator in model.get_ordered_ops())


def _in_integers(operator: Any) -> bool:
    return all(_is_rounded(operator.input_value(index)) for index in range(2))


def _is_rounded(output: Any) -> bool:
    """Tell whether a tensor has been rounded to the steps of an integer."""
    node = output.get_node()
    kind = node.get_type_name()
    if kind in SAME_VALUES:
        return _is_rounded(node.input_value(0))
    if kind in {"Multiply", "Subtract", "Convert"}:  # weights that are kept as integers, and how to read them
        return _is_rounded(node.input_value(0))
    return kind == "FakeQuantize" or (kind == "Constant" and int(node.get_element_type().size) == 1)
