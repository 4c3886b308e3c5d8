"""Writes a model reproducibly: the same model gives the same bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgeopt_openvino.toolkit import openvino

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BORDERS = ("Parameter", "Result")
"""Operators that keep their names, those of the source's inputs and outputs."""


def save(model: Any, file: Path, outputs: Sequence[str] | None = None, *, half: bool = False) -> None:
    """Write `file`, and the weights beside it.

    Args:
        model: The model; its operators are renamed.
        file: Path that ends in `.xml`.
        outputs: Names of the source's outputs; stored in the file, since OpenVINO's own names are ambiguous if an
            output is also an input, or two outputs are one tensor.
        half: Whether weights are stored in half precision.
    """
    if outputs is not None:
        model.set_rt_info(json.dumps(list(outputs)), ["edgeopt", "outputs"])
    for number, operator in enumerate(operators(model)):
        kind = operator.get_type_name()
        if kind not in BORDERS:  # OpenVINO's names contain a process-wide counter
            operator.set_friendly_name(f"{kind}_{number}")
    openvino().save_model(model, str(file), compress_to_fp16=half)


def operators(model: Any) -> Iterator[Any]:
    """Yield every operator, including those in loop and branch bodies."""
    for operator in model.get_ordered_ops():
        yield operator
        for body in bodies(operator):
            yield from operators(body)


def bodies(operator: Any) -> list[Any]:
    """Return the bodies of a loop or branch; empty for other operators."""
    if hasattr(operator, "get_then_body"):
        return [operator.get_then_body(), operator.get_else_body()]
    return [operator.get_function()] if hasattr(operator, "get_function") else []
