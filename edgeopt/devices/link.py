"""The one place that all traffic with a device goes through: commands with an end mark, a time limit and clear errors.

A transport knows how a shell command gets to the device and what its own errors mean; everything else is here, since
neither can be trusted alone: `adb` returns 0 with half an answer when the cable is pulled, and a dead `ssh` says 255,
which a command may say too.
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
"""How long a small command may take."""
CHECK_S = 0.5
"""How often a command that takes long looks whether the link is still there."""


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


@dataclass(frozen=True, slots=True)
class Reason:
    """What words of a transport's program mean; the texts may name what the transport gives to `explain`."""

    pattern: str
    message: str
    hint: str
    passes: bool = False
    """Whether it may be over in a while, as when the device is starting."""


def explain(said: str, reasons: Iterable[Reason], names: Mapping[str, str], otherwise: str) -> DeviceError:
    """Return what a transport's program means.

    Args:
        said: Its words.
        reasons: What they may mean; the first that fits counts.
        names: For the texts of the reasons.
        otherwise: What to say when none fits; the last of its words is the hint then.
    """
    for reason in reasons:
        if re.search(reason.pattern, said):
            kind = LinkLostError if reason.passes else DeviceError
            return kind(reason.message.format(**names), hint=reason.hint.format(**names))
    last = [line for line in said.splitlines() if line.strip()][-1:]
    return LinkLostError(otherwise, hint=one_line(last[0]) if last else "is it still running?")


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

    @property
    def lost(self) -> bool:
        """Whether the link is known to be gone, which the programs that use it may not have noticed."""
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
        """Let go of the device for good; may be called from another thread than the one that connects."""
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
        # In a subshell, so that an `exit` in it does not swallow the mark. What the login itself prints comes before.
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
        """Return what a process wrote on its output and as errors until its end.

        Raises:
            LinkLostError: It takes too long, or the link is gone and it has not noticed.
        """
        begin = time.monotonic()
        while not self.transport.lost:
            try:
                return process.communicate(timeout=CHECK_S)
            except subprocess.TimeoutExpired as error:  # noqa: PERF203 - it waits much longer than that costs
                if timeout_s is not None and time.monotonic() - begin > timeout_s:
                    message = f"{self.transport.uri}: {what} gave no answer within {timeout_s:g} s"
                    raise LinkLostError(message, hint="is the device still there?") from error
        raise self._lost(what, "")

    def _lost(self, what: str, said: str) -> LinkLostError:
        cause = self.transport.why(said)
        return LinkLostError(f"{self.transport.uri}: the link was lost while {what}: {cause.message}", hint=cause.hint)

    def _answer(self, printed: bytes, said: str, mark: str, what: str) -> bytes:
        """Return what stands between the marks."""
        out, found, end = printed.rpartition(f"\n{mark} ".encode())
        if not found or not end.endswith(b"\n"):
            raise self._lost(what, said)
        if code := int(end):
            raise CommandError(f"{self.transport.uri}: {what} failed (code {code})", code, said)
        return out.partition(f"{mark}\n".encode())[2]
