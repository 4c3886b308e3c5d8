"""The one hook of edgeopt; a plugin implements it in the module that its entry point names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeopt.contract import Backend

PROJECT = "edgeopt"
ENTRY_POINT_GROUP = "edgeopt"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks the function `edgeopt_backends` in the module that a plugin's entry point names."""


@hookspec
def edgeopt_backends() -> Iterable[type[Backend]]:  # type: ignore[empty-body]
    """Return the backend classes of this plugin."""
