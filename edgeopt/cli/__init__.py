"""The command line: each command parses, calls one function of the library, and prints what it returned."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

PATIENCE_S = 5.0
"""After a Ctrl-C the next ones are not heard for so long: they would only interrupt the tidying up."""


def main() -> None:
    """Run the command `edgeopt`."""
    # A polite end from a service manager or a closed terminal is cleaned up after like a Ctrl-C.
    heard_s = -PATIENCE_S

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal heard_s
        if time.monotonic() - heard_s >= PATIENCE_S:
            heard_s = time.monotonic()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        from edgeopt.cli.app import app

        app(prog_name="edgeopt")
    except KeyboardInterrupt:  # a very quick Ctrl-C, before `failures` can tell it
        os.write(2, b"error: interrupted\n")
        raise SystemExit(130) from None
