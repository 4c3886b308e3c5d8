"""OpenVINO and NNCF, without what they do unasked: reports over the network, files in the home folder, bars, logs."""

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

    Both packages report to Google Analytics through `openvino_telemetry`, from the first import on, and keep a number
    of the user in `~/intel`. Where that package cannot be imported, they take a stand-in that does nothing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def nncf() -> Any:
    """Return the package, which says nothing but errors."""
    openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep NNCF's progress bars off standard output; it has no setting for that."""
    with redirect_stdout(io.StringIO()):
        yield
