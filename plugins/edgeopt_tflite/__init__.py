"""The backend that writes `.tflite` files: float32, float16, and 8-bit and 16-bit integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.api import Backend, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

EDGEOPT_CONTRACT = 2


@hookimpl
def edgeopt_backends() -> Iterable[type[Backend]]:
    """Return the backend of this plugin."""
    from edgeopt_tflite.backend import Tflite

    return (Tflite,)
