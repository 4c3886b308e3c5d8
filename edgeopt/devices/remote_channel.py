"""A channel to a process on a device, watched there by a guard."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgeopt.devices.channel import EXIT_GRACE_S, READ_BYTES, Channel, ChannelClosed, describe_exit
from edgeopt.errors import LinkLostError, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from edgeopt.devices.link import Transport

BEAT_S = 5.0
"""Interval of the heartbeats from the host."""
LATER_S = 15.0
"""The guard waits this much longer than the host, so that a host that still runs reports first."""


class RemoteChannel(Channel):
    """A channel to a process on a device; its guard there reports how it ended.

    Args:
        command: Command for the shell of the device.
        log: File that receives its standard error.
        transport: Transport to the device.
    """

    def __init__(self, command: str, *, log: Path, transport: Transport) -> None:
        self._transport = transport
        self._begin = secrets.token_hex(8).encode()
        self._begun = False
        self._writing = threading.Lock()
        self._ending: dict[str, Any] | None = None
        super().__init__(transport.argv(f"echo {self._begin.decode()}; {command}"), log=log)
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        """Send heartbeats until the channel closes; end it if the connection is lost."""
        with suppress(OSError, ValueError):  # it has ended, or was closed
            while not self._closed.wait(BEAT_S) and self._process.poll() is None:
                if self._transport.lost:  # adb itself would wait forever
                    self._kill()
                    return
                self._write(b"\n")

    def _write(self, line: bytes) -> None:
        """Send one line to the guard, with the time left for the pending answer."""
        due = self._due
        limit = b"" if due is None else b"!%.1f " % (due - time.monotonic() + LATER_S)
        with self._writing:
            super()._write(limit + line)

    def _read_line(self, deadline: float | None) -> bytes | None:
        """Return the next line of the process; skip the output of the login itself."""
        line = super()._read_line(deadline)
        while not self._begun and line is not None:
            self._begun = line.endswith(self._begin)
            line = super()._read_line(deadline)
        return line

    def _parse(self, line: bytes) -> dict[str, Any]:
        """Return a line as an answer; the guard's own last line closes the channel."""
        answer = super()._parse(line)
        if "ended" not in answer:
            return answer
        self._ending = answer
        raise self._closed_error()

    def _closed_error(self) -> ChannelClosed | LinkLostError:  # type: ignore[override]
        """Return how the process ended; without a report of its guard, the connection was lost."""
        if self._ending is None and not self.closed:
            self._look_for_ending()
        if self._ending is not None and not self._ended_because:
            because, code = self._ending.get("because"), self._ending.get("ended")
            self._ended_because = one_line(because) if because else describe_exit(code if isinstance(code, int) else 1)
        error = super()._closed_error()
        if self._ending is None and not self._garbled and not self.closed:
            cause = self._transport.why(error.log_tail)
            return LinkLostError(f"the link was lost: {cause.message}", hint=cause.hint, log=error.log)
        return error

    def _look_for_ending(self) -> None:
        """Find the guard's last line in unread output: a process may also end while nothing is asked."""
        stdout, left = self._process.stdout, self._received[-READ_BYTES:]
        if stdout is None:  # pragma: no cover - always opened as a pipe
            return
        until = time.monotonic() + EXIT_GRACE_S
        with suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, until - time.monotonic())) and (
                chunk := os.read(stdout.fileno(), READ_BYTES)
            ):
                left = (left + chunk)[-READ_BYTES:]  # the report is short, and the last line
            said = json.loads(left.rstrip().rpartition(b"\n")[2])
            if isinstance(said, dict) and "ended" in said:
                self._ending = said
