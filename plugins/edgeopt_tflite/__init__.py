"""The backend that writes `.tflite` files: float32, half precision, and integers of 8 and 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.api import Backend, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

EDGEOPT_CONTRACT = 2


@hookimpl
def edgeopt_backends() -> Iterable[type[Backend]]:
    """Return the one backend of this plugin."""
    from edgeopt_tflite.backend import Tflite

    return (Tflite,)
