"""Backend that writes OpenVINO's native files, for the CPUs of PCs and servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.api import Backend, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

EDGEOPT_CONTRACT = 2


@hookimpl
def edgeopt_backends() -> Iterable[type[Backend]]:
    """Return this plugin's only backend."""
    from edgeopt_openvino.backend import OpenVino

    return (OpenVino,)
