"""All traffic with a device: commands with an end mark, a time limit and clear errors.

A transport only sends a shell command to the device and interprets its own errors. The rest is here, since exit codes
cannot be trusted: `adb` returns 0 with half an answer if the cable is pulled, and a dead `ssh` returns 255, as a
command may too.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from edgeopt.errors import DeviceError, LinkLostError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWER_S = 30.0
"""Time limit of a small command."""
CHECK_S = 0.5
"""Interval at which a long command checks the connection."""


class CommandError(DeviceError):
    """A command on the device returned an exit code other than 0.

    Args:
        message: The command's purpose, and its failure.
        code: Its exit code.
        said: Its standard error.
    """

    def __init__(self, message: str, code: int, said: str) -> None:
        super().__init__(message, hint=one_line(said.strip().splitlines()[-1]) if said.strip() else "")
        self.code = code
        self.said = said


@dataclass(frozen=True, slots=True)
class Reason:
    """The meaning of a transport program's output; the texts may use the `names` given to `explain`."""

    pattern: str
    message: str
    hint: str
    passes: bool = False
    """Whether it may be temporary, as when the device is starting."""


def explain(said: str, reasons: Iterable[Reason], names: Mapping[str, str], otherwise: str) -> DeviceError:
    """Return the error that a transport program's output means.

    Args:
        said: The output.
        reasons: Known reasons; the first that matches counts.
        names: Values for the texts of the reasons.
        otherwise: Message if no reason matches; the hint is then the last line of the output.
    """
    for reason in reasons:
        if re.search(reason.pattern, said):
            kind = LinkLostError if reason.passes else DeviceError
            return kind(reason.message.format(**names), hint=reason.hint.format(**names))
    last = [line for line in said.splitlines() if line.strip()][-1:]
    return LinkLostError(otherwise, hint=one_line(last[0]) if last else "is it still running?")


class Transport(Protocol):
    """Runs shell commands on one device."""

    @property
    def uri(self) -> str:
        """The address of the device."""
        ...

    @property
    def workdir(self) -> str:
        """The folder for edgeopt's files there, quoted for the device's shell."""
        ...

    @property
    def lost(self) -> bool:
        """Whether the connection is known to be lost; programs that use it may not have noticed."""
        ...

    def connect(self) -> None:
        """Connect, or reconnect.

        Raises:
            DeviceError: The device cannot be reached; with the reason and a hint.
        """
        ...

    def argv(self, command: str) -> list[str]:
        """Return the command line that runs a shell command on the device, with its three streams here."""
        ...

    def why(self, said: str) -> DeviceError:
        """Return the error for a lost connection, from the standard error of the transport's program."""
        ...

    def close(self) -> None:
        """Disconnect for good; may be called from another thread than the one that connects."""
        ...


class Link:
    """Runs shell commands on a device.

    Args:
        transport: Transport to the device.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def run(
        self, command: str, what: str, *, send: IO[bytes] | None = None, timeout_s: float | None = ANSWER_S
    ) -> bytes:
        """Return the output of a command.

        Args:
            command: Command for the POSIX shell of the device.
            what: Its purpose, for messages such as `looking for Python failed`.
            send: Its standard input.
            timeout_s: Its time limit.

        Raises:
            LinkLostError: The answer is late or incomplete.
            CommandError: The exit code is not 0.
        """
        mark = secrets.token_hex(8)
        # In a subshell, so that an `exit` in it does not skip the end mark. The login may print before the first mark.
        argv = self.transport.argv(f"echo {mark}; ( {command}\n); printf '\\n%s %d\\n' {mark} $?")
        try:
            process = subprocess.Popen(
                argv, stdin=send or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise DeviceError(f"{argv[0]} cannot be started: {error.strerror}", hint="is it installed?") from error
        with process:
            try:
                printed, said = self._wait(process, what, timeout_s)
            finally:
                process.kill()
        return self._answer(printed, said.decode("utf-8", "replace"), mark, what)

    def _wait(self, process: subprocess.Popen[bytes], what: str, timeout_s: float | None) -> tuple[bytes, bytes]:
        """Return the standard output and standard error of a process after its end.

        Raises:
            LinkLostError: It takes too long, or has not noticed that the connection is lost.
        """
        begin = time.monotonic()
        while not self.transport.lost:
            try:
                return process.communicate(timeout=CHECK_S)
            except subprocess.TimeoutExpired as error:  # noqa: PERF203 - the wait is much longer
                if timeout_s is not None and time.monotonic() - begin > timeout_s:
                    message = f"{self.transport.uri}: {what} gave no answer within {timeout_s:g} s"
                    raise LinkLostError(message, hint="is the device still there?") from error
        raise self._lost(what, "")

    def _lost(self, what: str, said: str) -> LinkLostError:
        cause = self.transport.why(said)
        return LinkLostError(f"{self.transport.uri}: the link was lost while {what}: {cause.message}", hint=cause.hint)

    def _answer(self, printed: bytes, said: str, mark: str, what: str) -> bytes:
        """Return the output between the marks."""
        out, found, end = printed.rpartition(f"\n{mark} ".encode())
        if not found or not end.endswith(b"\n"):
            raise self._lost(what, said)
        if code := int(end):
            raise CommandError(f"{self.transport.uri}: {what} failed (code {code})", code, said)
        return out.partition(f"{mark}\n".encode())[2]
