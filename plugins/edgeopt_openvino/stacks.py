"""Finds stacks of dense layers that OpenVINO's fused int8 kernel for AVX-512 computes wrongly.

In such a stack, a layer without a bias feeds the next, and the kernel reads uninitialised memory instead of the bias
(OpenVINO 2026.4). Stacks with activations other than ReLU are not fused; a last layer without a bias is correct.
"""

from __future__ import annotations

from typing import Any

BETWEEN = frozenset({"Convert", "FakeQuantize", "Relu", "Reshape"})
"""Operators allowed between two layers of one stack, besides a bias."""


def has_bare_stack(model: Any) -> bool:
    """Return whether a dense layer without a bias feeds another one."""
    return any(_is_bare(operator) for operator in model.get_ordered_ops() if operator.get_type_name() == "MatMul")


def _is_bare(layer: Any) -> bool:
    """Return whether a layer's result reaches another dense layer without an addition."""
    operator = layer
    while len(readers := operator.output(0).get_target_inputs()) == 1:
        operator = next(iter(readers)).get_node()
        if operator.get_type_name() == "MatMul":
            return True
        if operator.get_type_name() not in BETWEEN:
            return False
    return False
