"""Backend that writes ONNX files for ONNX Runtime: float32, half precision, and 8-bit integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.api import Backend, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

EDGEOPT_CONTRACT = 2


@hookimpl
def edgeopt_backends() -> Iterable[type[Backend]]:
    """Return this plugin's only backend."""
    from edgeopt_onnxruntime.backend import OnnxRuntime

    return (OnnxRuntime,)
