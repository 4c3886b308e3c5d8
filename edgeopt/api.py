"""All that a plugin may import from edgeopt."""

from __future__ import annotations

from edgeopt.contract import (
    CONTRACT_VERSION,
    Artifact,
    Backend,
    ExportRequest,
    NativeTimes,
    NoOptions,
    Scalar,
    SourceModel,
    TensorSpec,
)
from edgeopt.errors import ExportError
from edgeopt.hookspec import hookimpl

__all__ = [
    "CONTRACT_VERSION",
    "Artifact",
    "Backend",
    "ExportError",
    "ExportRequest",
    "NativeTimes",
    "NoOptions",
    "Scalar",
    "SourceModel",
    "TensorSpec",
    "hookimpl",
]
