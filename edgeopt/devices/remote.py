"""A device at the other end of a link: what is the same for ssh and adb."""

from __future__ import annotations

import json
import posixpath
import shlex
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.devices import proctree
from edgeopt.devices.base import thread_environment
from edgeopt.devices.channel import MARK, Channel, ChannelClosed, describe_exit
from edgeopt.devices.link import Link, LinkLostError
from edgeopt.devices.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.devices.link import Transport

BEAT_S = 5.0
"""How often the host gives a sign of life."""
SILENCE_S = 30.0
"""After so long without one a process on the device is ended: the host is gone."""
# Not imported here, as it imports `proctree` the way it lies on the device: as no part of a package.
GUARD = Path(proctree.__file__).with_name("guard.py")
TOOLS = (GUARD, Path(proctree.__file__))
"""What every process there needs, beside its own script."""
JOBS = "jobs"


class RemoteChannel(Channel):
    """A conversation with a process on a device; its guard there says how it ended."""

    def __init__(self, argv: Sequence[str], *, log: Path, transport: Transport) -> None:
        self._transport = transport
        self._writing = threading.Lock()
        self._ending: dict[str, Any] | None = None
        super().__init__(argv, log=log)
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        """Give signs of life until the conversation is over."""
        with suppress(OSError, ValueError):  # it has ended, or was closed
            while not self._closed.wait(BEAT_S) and self._process.poll() is None:
                self._write(b"\n")

    def _write(self, line: bytes) -> None:
        with self._writing:
            super()._write(line)

    def _parse(self, line: bytes) -> dict[str, Any]:
        """Return a line as an answer; the guard's own last line ends the conversation."""
        answer = super()._parse(line)
        if "ended" not in answer:
            return answer
        self._ending = answer
        raise self._closed_error()

    def _closed_error(self) -> ChannelClosed | LinkLostError:  # type: ignore[override]
        """Return how the process ended; where its guard did not say so, the link did."""
        if self._ending is not None and not self._ended_because:
            because, code = self._ending.get("because"), self._ending.get("ended")
            self._ended_because = str(because) if because else describe_exit(code if isinstance(code, int) else 1)
        error = super()._closed_error()
        if self._ending is None and not self._garbled and not self.closed:
            cause = self._transport.why(error.log_tail)
            return LinkLostError(f"the link was lost: {cause.message}", hint=cause.hint, log=error.log)
        return error


class RemoteDevice:
    """Runs scripts on a device behind a transport, with the Python that is there.

    Args:
        transport: The way to it.
        python: Its Python, as its shell finds it.
        cores: The cores that a process may use there; all when empty.
    """

    def __init__(self, transport: Transport, *, python: str = "python3", cores: Sequence[int] = ()) -> None:
        self.uri = transport.uri
        self._transport = transport
        self._python = python
        self._cores = tuple(cores)
        self._store = Store(Link(transport))
        self._channels: list[Channel] = []

    def connect(self) -> None:
        """Reach the device, or reach it again after the link was lost; what was pushed is there again too.

        Raises:
            DeviceError: It cannot be reached.
        """
        self._transport.connect()
        self._store.open()

    def push(self, path: Path) -> str:
        """Make a file or folder of the host readable on the device, and return its path there."""
        return posixpath.join(self._store.push(path.absolute()), path.name)

    def place(self) -> str:
        """Return a new folder on the device, for what is made there and pulled afterwards."""
        return posixpath.join(self._store.folder, JOBS, uuid.uuid4().hex)

    def open(
        self,
        script: Path,
        *,
        log: Path,
        threads: int = 1,
        memory_limit_bytes: int | None = None,
        limit_s: float | None = None,
    ) -> RemoteChannel:
        """Start a Python file of the host on the device, under a guard; see `Device.open`."""
        wanted = {
            "argv": [self._python, self.push(script)],
            "environment": dict(thread_environment(threads)),
            "mark": f"{MARK}={uuid.uuid4().hex}",
            "silence_s": SILENCE_S,
            "limit_s": limit_s,
            "memory_limit_bytes": memory_limit_bytes,
            "cores": list(self._cores) or None,
        }
        tools = self._store.push(*TOOLS)
        guarded = [self._python, posixpath.join(tools, GUARD.name), json.dumps(wanted)]
        argv = self._transport.argv(f"exec {shlex.join(guarded)}")
        channel = RemoteChannel(argv, log=log, transport=self._transport)
        self._channels = [*(other for other in self._channels if not other.closed), channel]
        return channel

    def pull(self, remote: str, path: Path) -> None:
        """Copy a folder of the device to `path` on the host."""
        self._store.pull(remote, path)

    def close(self) -> None:
        """End everything that was started on the device, and let go of it."""
        for channel in self._channels:
            channel.close()
        self._transport.close()
