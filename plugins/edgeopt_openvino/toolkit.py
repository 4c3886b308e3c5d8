"""Imports OpenVINO and NNCF without their network reports, files in the home folder, progress bars and logs."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def openvino() -> Any:
    """Return the package.

    From the first import on, both packages report to Google Analytics through `openvino_telemetry` and keep a user ID
    in `~/intel`. If that package cannot be imported, they use a stub that does nothing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def nncf() -> Any:
    """Return the package, which logs only errors."""
    openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep NNCF's progress bars off standard output; NNCF lacks a setting for it."""
    with redirect_stdout(io.StringIO()):
        yield
