"""The one place that all traffic with a device goes through: commands with an end mark, a time limit and clear errors.

A transport knows how a shell command gets to the device and what its own errors mean; everything else is here, since
neither can be trusted alone: `adb` returns 0 with half an answer when the cable is pulled, and a dead `ssh` says 255,
which a command may say too.
"""

from __future__ import annotations

import secrets
import subprocess
from typing import IO, Protocol

from edgeopt.errors import DeviceError, LinkLostError, one_line

ANSWER_S = 30.0
"""How long a small command may take."""


class CommandError(DeviceError):
    """A command on the device ended with another code than 0.

    Args:
        message: What was wanted.
        code: What it ended with.
        said: What it wrote on standard error.
    """

    def __init__(self, message: str, code: int, said: str) -> None:
        super().__init__(message, hint=one_line(said.strip().splitlines()[-1]) if said.strip() else "")
        self.code = code
        self.said = said


class Transport(Protocol):
    """How a shell command gets to one device."""

    @property
    def uri(self) -> str:
        """The address of the device."""
        ...

    @property
    def workdir(self) -> str:
        """The folder for edgeopt's files there, as a word of the device's shell."""
        ...

    def connect(self) -> None:
        """Reach the device, or reach it again.

        Raises:
            DeviceError: It cannot be reached; says why and what to do.
        """
        ...

    def argv(self, command: str) -> list[str]:
        """Return the program and arguments that run a shell command on the device, with its three streams here."""
        ...

    def why(self, said: str) -> DeviceError:
        """Return what it means that the link ended, by what the transport's program wrote on standard error."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class Link:
    """Runs shell commands on a device.

    Args:
        transport: How they get there.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def run(
        self, command: str, what: str, *, send: IO[bytes] | None = None, timeout_s: float | None = ANSWER_S
    ) -> bytes:
        """Return what a command prints.

        Args:
            command: For the POSIX shell of the device.
            what: What it is for, as an error says it: `{what} failed`.
            send: What it reads.
            timeout_s: How long it may take.

        Raises:
            LinkLostError: The answer did not come to its end.
            CommandError: It ended with another code than 0.
        """
        mark = secrets.token_hex(8)
        # In a subshell, so that an `exit` in it does not swallow the mark.
        argv = self.transport.argv(f"( {command}\n); printf '\\n%s %d\\n' {mark} $?")
        try:
            done = subprocess.run(
                argv, stdin=send or subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            message = f"{self.transport.uri}: {what} gave no answer within {timeout_s:g} s"
            raise LinkLostError(message, hint="is the device still there?") from error
        except OSError as error:
            raise DeviceError(f"{argv[0]} cannot be started: {error.strerror}", hint="is it installed?") from error
        return self._answer(done, mark, what)

    def _answer(self, done: subprocess.CompletedProcess[bytes], mark: str, what: str) -> bytes:
        """Return what stands before the end mark."""
        said = done.stderr.decode("utf-8", "replace")
        out, found, end = done.stdout.rpartition(f"\n{mark} ".encode())
        if not found or not end.endswith(b"\n"):
            cause = self.transport.why(said)
            message = f"{self.transport.uri}: the link was lost while {what}: {cause.message}"
            raise LinkLostError(message, hint=cause.hint)
        if code := int(end):
            raise CommandError(f"{self.transport.uri}: {what} failed (code {code})", code, said)
        return out
