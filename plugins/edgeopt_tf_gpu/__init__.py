"""Exports SavedModels for inference on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.api import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeopt.api import Backend

EDGEOPT_CONTRACT = 2


@hookimpl
def edgeopt_backends() -> Iterable[type[Backend]]:
    """Return the backend of this plugin."""
    from edgeopt_tf_gpu.backend import TfGpu

    return [TfGpu]
