"""What the host wants from a device; everything that runs artifacts keeps this."""

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
    """A place where artifacts run. Paths that `push` returns mean something on the device only."""

    @property
    def uri(self) -> str:
        """The address: `local`, `ssh://user@host`, `adb://serial` or `qemu://PROCESSOR`."""
        ...

    @property
    def untimed(self) -> str:
        """Why nothing is timed on this device; empty if artifacts are timed there."""
        ...

    @property
    def name(self) -> str:
        """What the user calls it; its address where it has no other name."""
        ...

    def connect(self) -> None:
        """Reach the device, or reach it again after its link was lost; what was pushed is there again too.

        Raises:
            DeviceError: It cannot be reached.
        """
        ...

    def claim(self, tell: Callable[[str], None], timeout_s: float) -> None:
        """Wait until nobody else measures on the device, and keep others away until `close`.

        Args:
            tell: Is told whom this waits for.
            timeout_s: How long to wait.

        Raises:
            DeviceError: Somebody else still has it.
        """
        ...

    def facts(self) -> Facts:
        """Return what the device is: machine, system, processor, memory, runtimes."""
        ...

    def health(self) -> Health:
        """Return how the device is at this moment: load, temperature, governor."""
        ...

    def versions(self, distributions: Iterable[str], environment: OwnEnvironment | None = None) -> Mapping[str, str]:
        """Return, by name, the versions of those distributions that are installed where `open` would start a script."""
        ...

    def push(self, path: Path) -> str:
        """Make a file or folder of the host readable on the device, and return its path there.

        What the device has already, by its content, is not sent again.

        Raises:
            DeviceError: It cannot be stored there.
        """
        ...

    def place(self, path: Path) -> AbstractContextManager[str]:
        """Give where, on the device, a folder is to be made that `pull` then copies to `path`; it goes again there."""
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
        """Start a Python file of the host on the device and return the conversation with it.

        Args:
            script: The file; it speaks JSON lines on standard input and output.
            log: Where, on the host, its standard error goes.
            threads: How many threads every runtime may use.
            memory_limit_bytes: Kill it when it holds more than this; nine tenths of what is free there when None.
            environment: The Python environment of this machine to start it in; the device's own when None, and on
                every device but this machine.
            requires: What the script will import, as `Backend.requires`: a device may have it imported already.

        Raises:
            DeviceError: It cannot be started.
        """
        ...

    def pull(self, remote: str, path: Path) -> None:
        """Copy a folder of the device to `path` on the host.

        Raises:
            DeviceError: It cannot be read there.
        """
        ...

    def close(self) -> None:
        """End everything that was started on the device."""
        ...


def thread_environment(threads: int) -> Mapping[str, str]:
    """Return the environment that gives every runtime the same number of threads and keeps TensorFlow quiet."""
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
