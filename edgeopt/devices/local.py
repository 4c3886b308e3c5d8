"""This machine as a device: everything measured here runs in separate processes."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

from edgeopt.devices.base import thread_environment
from edgeopt.devices.book import LOCAL
from edgeopt.devices.channel import Channel
from edgeopt.devices.warm import WarmChannel, WarmParent, is_slow
from edgeopt.errors import DeviceError
from edgeopt.measure.facts import Facts, Health, available_bytes, find_facts, find_health, find_runtimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgeopt.isolation import OwnEnvironment

LEAST_LIMIT_BYTES = 2 << 30
"""Minimum of the default limit: free memory is only a guess, and TensorFlow alone takes part of it."""


def default_limit_bytes() -> int | None:
    """Return the memory that one process may use so that this machine stays usable; None if unknown."""
    free_bytes = available_bytes()
    return max(LEAST_LIMIT_BYTES, int(0.9 * free_bytes)) if free_bytes else None


class LocalDevice:
    """Runs scripts with the Python that runs edgeopt; nothing needs to be pushed or pulled."""

    uri: str = LOCAL
    name: str = LOCAL
    untimed: str = ""

    def __init__(self) -> None:
        self._channels: list[Channel] = []
        self._warm: WarmParent | None = None
        self._warming = threading.Lock()
        self._is_closed = False
        self._limit_bytes = default_limit_bytes()

    def connect(self) -> None:
        """No-op: this machine is always connected."""

    def claim(self, tell: Callable[[str], None], timeout_s: float) -> None:
        """No-op: the local machine is never locked."""

    def facts(self) -> Facts:
        """Return the facts of this machine."""
        return find_facts(self.uri)

    def health(self) -> Health:
        """Return the current state of this machine."""
        return find_health()

    def versions(self, distributions: Iterable[str], environment: OwnEnvironment | None = None) -> Mapping[str, str]:
        """Return all versions in `environment`, by name; if None, those of `distributions` in edgeopt's own."""
        return environment.versions() if environment else find_runtimes(distributions)

    def push(self, path: Path) -> str:
        """Return the absolute path: processes see the same files.

        Raises:
            DeviceError: `path` does not exist.
        """
        if not path.exists():
            raise DeviceError(f"{path} does not exist")
        return str(path.absolute())

    def open(  # noqa: PLR0913 - each is a fact of its own
        self,
        script: Path,
        *,
        log: Path,
        threads: int = 1,
        memory_limit_bytes: int | None = None,
        environment: OwnEnvironment | None = None,
        requires: Iterable[str] = (),
    ) -> Channel:
        """Start a Python file in its own process and session; see `Device.open`."""
        variables = {**(environment.variables if environment else os.environ), **thread_environment(threads)}
        run, limit = [str(script.absolute())], memory_limit_bytes or self._limit_bytes
        # The libraries in the parent were loaded for one thread.
        if environment is None and threads == 1 and is_slow(requires):
            return self.fork(run, log=log, env=variables, memory_limit_bytes=limit)
        argv = [*self._python(str(environment.python) if environment else sys.executable), *run]
        return self._keep(Channel(argv, log=log, env=variables, memory_limit_bytes=limit))

    def warm_up(self) -> WarmParent | None:
        """Start importing TensorFlow and return the process that does so; None after `close`."""
        with self._warming:
            if self._warm is None and not self._is_closed:
                self._warm = WarmParent(self._python(sys.executable))
            return self._warm

    def fork(self, run: Sequence[str], *, log: Path, env: Mapping[str, str], memory_limit_bytes: int | None) -> Channel:
        """Start a Python file, or a module with `-m`, in a process with TensorFlow loaded; see `WarmChannel`."""
        parent, command = self.warm_up(), self._python(sys.executable)
        return self._keep(WarmChannel(parent, command, run, log=log, env=env, memory_limit_bytes=memory_limit_bytes))

    def _keep(self, channel: Channel) -> Channel:
        """Remember a channel, for `close` to end it."""
        with self._warming:
            self._channels = [*(other for other in self._channels if not other.closed), channel]
        return channel

    def _python(self, python: str) -> list[str]:
        """Return the command that starts Python."""
        return [python]

    def place(self, path: Path) -> AbstractContextManager[str]:
        """Give the same path: processes see the same files, and the folder stays."""
        return nullcontext(str(path.absolute()))

    def pull(self, remote: str, path: Path) -> None:
        """Copy a folder to `path`, unless it is already there."""
        if os.path.abspath(remote) != str(path.absolute()):  # noqa: PTH100 - Path has no such function
            shutil.copytree(remote, path, dirs_exist_ok=True)

    def close(self) -> None:
        """End every process that was started here."""
        with self._warming:
            warm, self._warm, self._is_closed = self._warm, None, True
        for channel in self._channels:
            channel.close()
        if warm is not None:
            warm.close()
