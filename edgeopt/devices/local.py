"""This machine, as a device like any other: what is measured here runs in processes of its own."""

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
"""The default limit never is below this: what is free now is a guess, and TensorFlow alone takes a part of it."""


def default_limit_bytes() -> int | None:
    """Return what one process may take so that the rest of this machine stays usable; None where that is not known."""
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
        """Do nothing: this machine is here."""

    def claim(self, tell: Callable[[str], None], timeout_s: float) -> None:
        """Do nothing: who else works on this machine, its user knows."""

    def facts(self) -> Facts:
        """Return what this machine is."""
        return find_facts(self.uri)

    def health(self) -> Health:
        """Return how this machine is at this moment."""
        return find_health()

    def versions(self, distributions: Iterable[str], environment: OwnEnvironment | None = None) -> Mapping[str, str]:
        """Return, by name, the versions of those distributions that an environment has, or what runs edgeopt."""
        return environment.versions() if environment else find_runtimes(distributions)

    def push(self, path: Path) -> str:
        """Return the absolute path: the processes see the same files.

        Raises:
            DeviceError: There is nothing at `path`.
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
        """Start a Python file in a process and session of its own; see `Device.open`."""
        variables = {**(environment.variables if environment else os.environ), **thread_environment(threads)}
        run, limit = [str(script.absolute())], memory_limit_bytes or self._limit_bytes
        # The libraries in the parent were loaded for one thread.
        if environment is None and threads == 1 and is_slow(requires):
            return self.fork(run, log=log, env=variables, memory_limit_bytes=limit)
        argv = [*self._python(str(environment.python) if environment else sys.executable), *run]
        return self._keep(Channel(argv, log=log, env=variables, memory_limit_bytes=limit))

    def warm_up(self) -> WarmParent | None:
        """Begin to import TensorFlow, and return the process that does so; None after `close`."""
        with self._warming:
            if self._warm is None and not self._is_closed:
                self._warm = WarmParent(self._python(sys.executable))
            return self._warm

    def fork(self, run: Sequence[str], *, log: Path, env: Mapping[str, str], memory_limit_bytes: int | None) -> Channel:
        """Start a Python file, or with `-m` a module, in a process that has imported TensorFlow; see `WarmChannel`."""
        parent, command = self.warm_up(), self._python(sys.executable)
        return self._keep(WarmChannel(parent, command, run, log=log, env=env, memory_limit_bytes=memory_limit_bytes))

    def _keep(self, channel: Channel) -> Channel:
        """Remember a conversation, which `close` ends."""
        with self._warming:
            self._channels = [*(other for other in self._channels if not other.closed), channel]
        return channel

    def _python(self, python: str) -> list[str]:
        """Return the command that starts Python."""
        return [python]

    def place(self, path: Path) -> AbstractContextManager[str]:
        """Give the same path: the processes see the same files, and it stays."""
        return nullcontext(str(path.absolute()))

    def pull(self, remote: str, path: Path) -> None:
        """Copy a folder to `path`, unless it is there already."""
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
