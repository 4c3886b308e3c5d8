"""The interface of a device; everything that runs artifacts implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgeopt.devices.channel import Channel
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.measure.facts import Facts, Health


class Device(Protocol):
    """A place to run artifacts. Paths that `push` returns are valid on the device only."""

    @property
    def uri(self) -> str:
        """The address: `local`, `ssh://user@host`, `adb://serial` or `qemu://PROCESSOR`."""
        ...

    @property
    def untimed(self) -> str:
        """Reason why artifacts are not timed on this device; empty if they are."""
        ...

    @property
    def name(self) -> str:
        """The name that the user gave it, else its address."""
        ...

    def connect(self) -> None:
        """Connect, or reconnect after a lost connection; pushed files are available again.

        Raises:
            DeviceError: The device cannot be reached.
        """
        ...

    def claim(self, tell: Callable[[str], None], timeout_s: float) -> None:
        """Wait until nobody else measures on the device, and lock it until `close`.

        Args:
            tell: Called with a message that names the current holder.
            timeout_s: Maximum wait.

        Raises:
            DeviceError: Somebody else still holds it.
        """
        ...

    def facts(self) -> Facts:
        """Return the machine, system, processor, memory and runtimes of the device."""
        ...

    def health(self) -> Health:
        """Return the current state of the device: load, temperature, governor."""
        ...

    def versions(self, distributions: Iterable[str], environment: OwnEnvironment | None = None) -> Mapping[str, str]:
        """Return the installed versions of these distributions, by name, in the environment that `open` uses."""
        ...

    def push(self, path: Path) -> str:
        """Make a host file or folder readable on the device and return its path there.

        Content that the device already has is not sent again.

        Raises:
            DeviceError: The device cannot store it.
        """
        ...

    def place(self, path: Path) -> AbstractContextManager[str]:
        """Give a device path for a new folder, which `pull` then copies to `path`; it is removed on exit."""
        ...

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
        """Start a Python file of the host on the device and return the channel to it.

        Args:
            script: The file; it exchanges JSON lines over standard input and output.
            log: File on the host that receives its standard error.
            threads: Number of threads that every runtime may use.
            memory_limit_bytes: Kill it if it holds more memory; if None, nine tenths of the free memory there.
            environment: Python environment of this machine to start it in; if None, the device's own. Other devices
                ignore it.
            requires: Packages that the script imports, as `Backend.requires`; a device may have imported them already.

        Raises:
            DeviceError: The script cannot be started.
        """
        ...

    def pull(self, remote: str, path: Path) -> None:
        """Copy a folder of the device to `path` on the host.

        Raises:
            DeviceError: The folder cannot be read.
        """
        ...

    def close(self) -> None:
        """End every process that was started on the device."""
        ...


def thread_environment(threads: int) -> Mapping[str, str]:
    """Return variables that give every runtime this number of threads and keep TensorFlow quiet."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "VECLIB_MAXIMUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "1",
    }
