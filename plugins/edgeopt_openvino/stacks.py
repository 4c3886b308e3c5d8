"""Finds stacks of dense layers that OpenVINO's fused int8 kernel for AVX-512 computes wrongly.

In such a stack a layer has no bias, and the kernel reads memory in its place that was never written (OpenVINO 2026.4).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
BETWEEN = frozenset(
    {"Add", "Clamp", "Convert", "FakeQuantize", "Gelu", "Multiply", "Relu", "Reshape", "Sigmoid", "Subtract", "Tanh"}
)
"""What may stand between two layers of one stack."""


def has_avx512() -> bool:
    """Whether this processor runs the kernel, so that a trial shows its fault; False if that is not known."""
    try:
        return "avx512bw" in CPUINFO.read_text("utf-8", "replace").split()
    except OSError:
        return False


def has_bare_stack(model: Any) -> bool:
    """Whether two dense layers follow each other of which one has no bias."""
    layers = [operator for operator in model.get_ordered_ops() if operator.get_type_name() == "MatMul"]
    for layer in layers:
        following, is_biased = _next(layer)
        if following is not None and not (is_biased and _next(following)[1]):
            return True
    return False


def _next(layer: Any) -> tuple[Any, bool]:
    """Return the dense layer that alone reads a layer's result, None if there is none, and whether a bias is added."""
    operator, is_biased = layer, False
    while len(readers := operator.output(0).get_target_inputs()) == 1:
        operator = next(iter(readers)).get_node()
        if operator.get_type_name() == "MatMul":
            return operator, is_biased
        if operator.get_type_name() not in BETWEEN:
            break
        is_biased = is_biased or operator.get_type_name() == "Add"
    return None, is_biased
