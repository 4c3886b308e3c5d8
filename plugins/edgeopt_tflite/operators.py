"""Reads a `.tflite` file: its operators, those that compute in float, and whether it has a loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

BORDERS = ("QUANTIZE", "DEQUANTIZE")
"""They convert between float and integer, so one side is always float."""


@dataclass(frozen=True, slots=True)
class Operators:
    """The number of operators in a file, and the names of those that compute in float."""

    count: int
    floats: tuple[str, ...]

    @property
    def remark(self) -> str | None:
        """A sentence about the operators that a quantized file leaves in float, or None."""
        if not self.floats:
            return None
        kinds = ", ".join(sorted(set(self.floats)))
        verb = "stays" if len(self.floats) == 1 else "stay"
        return f"{len(self.floats)} of {self.count} operators {verb} float32 ({kinds})"


def read_operators(file: Path) -> Operators:
    """Count the operators of `file`, including those in loop bodies."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    found = [
        (names[_builtin(model.operatorCodes[operator.opcodeIndex])], _is_float(operator, graph, schema))
        for graph in model.subgraphs
        for operator in graph.operators
    ]
    floats = tuple(name for name, is_float in found if is_float and name not in BORDERS)
    return Operators(len(found), floats)


def has_loop(file: Path) -> bool:
    """Return whether the file has a WHILE."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(file.read_bytes(), 0)
    codes = (model.OperatorCodes(index) for index in range(model.OperatorCodesLength()))
    return any(code.BuiltinCode() == schema.BuiltinOperator.WHILE for code in codes)


def _builtin(code: Any) -> int:
    """Return the number of an operator; older files store it in the deprecated, smaller field."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _is_float(operator: Any, graph: Any, schema: Any) -> bool:
    """Return whether the operator reads or writes a float32 tensor."""
    tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return any(tensor.type == schema.TensorType.FLOAT32 for tensor in tensors)
