"""The errors that edgeopt raises on purpose, each with an exit code and a hint for the user."""

from __future__ import annotations

import difflib
import errno
import re
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """Exit code of the process; with several targets the highest code wins."""

    OK = 0
    BUG = 1
    USAGE = 2
    BROKEN_PLUGIN = 3
    UNAVAILABLE = 4
    EXPORT_FAILED = 5
    DEVICE_FAILED = 6
    BUDGET_NOT_MET = 7
    BAD_INPUT = 8
    INTERRUPTED = 130


class EdgeoptError(Exception):
    """An error that the user can act on.

    Args:
        message: One line: the problem and its place.
        hint: One line: the next step, or empty.
        log: Path of the log file with the details, or empty.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    kind: ClassVar[str] = "bug"

    def __init__(self, message: str, *, hint: str = "", log: str = "") -> None:
        self.message = readable(message)
        self.hint = readable(hint)
        self.log = readable(log)
        super().__init__(self.message)


class UsageError(EdgeoptError):
    """An unknown name or option on the command line."""

    exit_code = ExitCode.USAGE
    kind = "usage"


class PluginError(EdgeoptError):
    """A plugin violates the contract."""

    exit_code = ExitCode.BROKEN_PLUGIN
    kind = "plugin"


class UnavailableError(EdgeoptError):
    """A backend cannot work on this machine; the message gives the reason."""

    exit_code = ExitCode.UNAVAILABLE
    kind = "unavailable"


class ExportError(EdgeoptError):
    """A backend could not make its artifact from this model."""

    exit_code = ExitCode.EXPORT_FAILED
    kind = "export"


class DegenerateError(ExportError):
    """The outputs of an artifact are degenerate: NaN, all zero, or the same for every feed."""

    kind = "degenerate"


class StoppedError(EdgeoptError):
    """The user interrupted the run before this was done."""

    exit_code = ExitCode.INTERRUPTED
    kind = "stopped"


class DeviceError(EdgeoptError):
    """A device, or a process on it, did not fulfil a request."""

    exit_code = ExitCode.DEVICE_FAILED
    kind = "device"


class LinkLostError(DeviceError):
    """The connection to the device was lost; it may come back."""


class DeviceGoneError(LinkLostError):
    """The device did not come back within the reconnect limit, or now refuses the connection: do not retry."""


class BudgetError(EdgeoptError):
    """A stated limit on size, latency, memory or fidelity is not met."""

    exit_code = ExitCode.BUDGET_NOT_MET
    kind = "budget"


class BadInputError(EdgeoptError):
    """A model, a data file or a target file cannot be used."""

    exit_code = ExitCode.BAD_INPUT
    kind = "bad-input"


KINDS: dict[str, type[EdgeoptError]] = {
    error.kind: error
    for error in (
        EdgeoptError,
        UsageError,
        PluginError,
        UnavailableError,
        ExportError,
        DegenerateError,
        StoppedError,
        DeviceError,
        BudgetError,
        BadInputError,
    )
}


def did_you_mean(name: str, known: Iterable[str], *, listed: bool = False) -> str:
    """Return a hint for a mistyped name: the nearest known ones, or all if none is near.

    Args:
        name: The mistyped name.
        known: The valid names.
        listed: Whether the message already lists all of them.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if listed:
        return ""
    return f"known: {', '.join(names)}" if names else "none is known"


ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""Escape sequences that colour a terminal."""
MOST_CHARACTERS = 300
"""Maximum length of a third-party message; the log has all of it."""
DISK_IS_FULL = ("No space left on device", "Disk quota exceeded", "Quota exceeded")
"""musl and Android use the last one for the second."""
FREE_SPACE = "free some space there: edgeopt devices clean NAME"


def readable(text: object) -> str:
    """Return any object as text that every file and every terminal can hold.

    A lone surrogate (from a file name that is not UTF-8, say) is written as an escape. If the conversion to text fails,
    the result names the type.
    """
    try:
        said = str(text)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a third-party `__str__` may raise anything
        said = f"<{type(text).__name__} whose text fails with {type(error).__name__}>"
    return said.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: object) -> str:
    """Return third-party text in one line of moderate length, without colours."""
    return " ".join(ANSI.sub("", readable(text)).split())[:MOST_CHARACTERS]


def in_words(error: BaseException) -> str:
    """Return any exception as `Type: message`, in one line."""
    lines = [line for line in ANSI.sub("", readable(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {one_line(lines[0])}" if lines else type(error).__name__


def last_words(output: str) -> str:
    """Return the last line of a program's output as a hint; empty without output."""
    lines = [line for line in output.splitlines() if line.strip()]
    return f"its last words: {one_line(lines[-1])}" if lines else ""


def full_disk(error: object, where: str = "") -> EdgeoptError | None:
    """Return the error to show if the disk is full, else None.

    Args:
        error: An exception, or the text of one from another process.
        where: Beginning of the message: the device with the disk, and its task; empty on this machine.
    """
    numbered = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if not numbered and not any(reason in readable(error) for reason in DISK_IS_FULL):
        return None
    if where:
        return DeviceError(f"{where}: its disk is full", hint=FREE_SPACE)
    return BadInputError("the disk is full", hint="free some space, or choose another folder with --out")
