"""Writes a model so that the same model always gives the same bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgeopt_openvino.toolkit import openvino

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BORDERS = ("Parameter", "Result")
"""Their names are those of the source's inputs and outputs."""


def save(model: Any, file: Path, outputs: Sequence[str] | None = None, *, half: bool = False) -> None:
    """Write `file` and, beside it, the weights.

    Args:
        model: The model; its operators are given other names.
        file: Ends in `.xml`.
        outputs: Names of the source's outputs; kept in the file, since an output may be an input too, or two outputs
            one tensor, and then OpenVINO's own names do not tell which is meant.
        half: Whether weights are kept in half precision.
    """
    if outputs is not None:
        model.set_rt_info(json.dumps(list(outputs)), ["edgeopt", "outputs"])
    for number, operator in enumerate(operators(model)):
        kind = operator.get_type_name()
        if kind not in BORDERS:  # OpenVINO's names hold a number that counts what this process made before
            operator.set_friendly_name(f"{kind}_{number}")
    openvino().save_model(model, str(file), compress_to_fp16=half)


def operators(model: Any) -> Iterator[Any]:
    """Yield every operator, those in the bodies of loops and branches included."""
    for operator in model.get_ordered_ops():
        yield operator
        for body in bodies(operator):
            yield from operators(body)


def bodies(operator: Any) -> list[Any]:
    """Return the bodies of a loop or a branch; none of any other operator."""
    if hasattr(operator, "get_then_body"):
        return [operator.get_then_body(), operator.get_else_body()]
    return [operator.get_function()] if hasattr(operator, "get_function") else []
