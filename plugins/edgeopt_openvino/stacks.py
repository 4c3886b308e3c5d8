"""Finds stacks of dense layers that OpenVINO's fused int8 kernel for AVX-512 computes wrongly.

In such a stack a layer without a bias feeds the next, and the kernel reads memory in place of the bias that was never
written (OpenVINO 2026.4). Stacks with other activations than ReLU are not fused; a last layer without a bias is right.
"""

from __future__ import annotations

from typing import Any

BETWEEN = frozenset({"Convert", "FakeQuantize", "Relu", "Reshape"})
"""What may stand between two layers of one stack, but for a bias."""


def has_bare_stack(model: Any) -> bool:
    """Whether a dense layer without a bias feeds another one."""
    return any(_is_bare(operator) for operator in model.get_ordered_ops() if operator.get_type_name() == "MatMul")


def _is_bare(layer: Any) -> bool:
    """Whether a layer's result goes to another dense layer, and nothing is added on the way."""
    operator = layer
    while len(readers := operator.output(0).get_target_inputs()) == 1:
        operator = next(iter(readers)).get_node()
        if operator.get_type_name() == "MatMul":
            return True
        if operator.get_type_name() not in BETWEEN:
            return False
    return False
