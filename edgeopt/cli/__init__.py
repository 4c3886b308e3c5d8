"""The command line: each command parses, calls one function of the library, and prints what it returned."""

from __future__ import annotations


def main() -> None:
    """Run the command `edgeopt`."""
    import os
    import signal

    # A polite end from a service manager or a closed terminal is cleaned up after like a Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        from edgeopt.cli.app import app

        app(prog_name="edgeopt")
    except KeyboardInterrupt:  # a very quick Ctrl-C, before `failures` can tell it
        os.write(2, b"error: interrupted\n")
        raise SystemExit(130) from None
