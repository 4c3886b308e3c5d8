"""Exports the source model in its own format, without the optimizer."""

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
    from edgeopt_saved_model.backend import SavedWithoutOptimizer

    return [SavedWithoutOptimizer]
