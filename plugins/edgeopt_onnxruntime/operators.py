"""Finds the operators of a quantized file that compute in float after ONNX Runtime's optimisation."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt_onnxruntime.graphs import CONVOLUTIONS, RECURRENT, graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

BORDERS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
    }
)
"""Conversions between float and integer, some while multiplying; one float side is normal for them."""
MOST_KINDS = 6
"""Maximum number of operator kinds in a remark."""
LOOPS = frozenset({"Loop", "Scan"})
FLOAT, INTEGER = 1, 3
"""ONNX's numbers of element types."""


@dataclass(frozen=True, slots=True)
class Operators:
    """Names of all operators that run, and of those that compute in float."""

    names: tuple[str, ...]
    floats: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of operators."""
        return len(self.names)

    @property
    def remark(self) -> str | None:
        """Sentence about the float operators of a quantized file, or None."""
        if not self.floats:
            return None
        found = sorted(set(self.floats))
        more = f" and {len(found) - MOST_KINDS} more" if len(found) > MOST_KINDS else ""
        kinds = ", ".join(found[:MOST_KINDS]) + more
        verb = "stays" if len(self.floats) == 1 else "stay"
        return f"{len(self.floats)} of {self.count} operators {verb} float32 ({kinds})"

    def remarks(self, quantization: str) -> tuple[str, ...]:
        """Return sentences for the user about the float parts of a quantized file."""
        said = []
        if quantization.endswith("int8") and LOOPS.intersection(self.names):
            said.append("the loop stays float32: only what lies outside of it is quantized")
        if quantization == "dynamic-int8" and (layers := sorted(RECURRENT.intersection(self.names))):
            said.append(f"{' and '.join(layers)} layers stay float32: ONNX Runtime has no integer kernel for them")
        if quantization == "dynamic-int8" and CONVOLUTIONS.intersection(self.names):
            said.append("the convolutions stay float32: dynamic-int8 quantizes matrix multiplications and embeddings")
        if quantization == "int8" and self.remark:
            said.append(self.remark)
        return tuple(said)


def read_operators(file: Path) -> Operators:
    """Count the operators of `file` as ONNX Runtime runs them, including those in loop bodies."""
    found = [pair for graph in graphs_of(_optimised(file).graph) for pair in _operators(graph)]
    floats = tuple(name for name, is_float in found if is_float and name not in BORDERS)
    return Operators(tuple(name for name, _ in found), floats)


def _optimised(file: Path) -> Any:
    """Return the model after ONNX Runtime has replaced float operators between integers by integer ones."""
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    # The highest level would add layouts specific to this processor.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return onnx.load(written)


def _operators(graph: Any) -> Iterator[tuple[str, bool]]:
    """Yield each operator's name, and whether it reads or writes a non-constant float tensor."""
    constants = {tensor.name for tensor in graph.initializer}
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    for node in graph.node:
        given = [name for name in node.input if name not in constants]
        # ONNX Runtime does not record types for outputs of its own integer operators, nor for their copies.
        like_first = types.get(given[0], INTEGER) if given else INTEGER
        guess = {"DequantizeLinear": FLOAT, "QuantizeLinear": INTEGER}.get(node.op_type, like_first)
        for name in node.output:
            types.setdefault(name, INTEGER if node.op_type.startswith("Q") else guess)
        yield node.op_type, any(types.get(name) == FLOAT for name in (*given, *node.output))
