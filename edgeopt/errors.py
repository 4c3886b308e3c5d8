"""Every error that edgeopt raises on purpose, each with its exit code and a hint for the user."""

from __future__ import annotations

import difflib
import errno
import re
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """What the process returns; with several targets the highest code wins."""

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
    """Something the user can act on: `message` says what and where, `hint` says what to do next.

    Args:
        message: One line: what is wrong and where.
        hint: One line: what to do next; empty when there is nothing to say.
        log: Path of the log file that holds the details; empty when there is none.
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
    """A plugin does not keep the contract."""

    exit_code = ExitCode.BROKEN_PLUGIN
    kind = "plugin"


class UnavailableError(EdgeoptError):
    """A backend cannot work on this machine; the message says why."""

    exit_code = ExitCode.UNAVAILABLE
    kind = "unavailable"


class ExportError(EdgeoptError):
    """A backend could not make its artifact from this model."""

    exit_code = ExitCode.EXPORT_FAILED
    kind = "export"


class DegenerateError(ExportError):
    """An artifact answers nonsense: NaN, all zero, or the same to every feed."""

    kind = "degenerate"


class StoppedError(EdgeoptError):
    """The user ended the run before this was done."""

    exit_code = ExitCode.INTERRUPTED
    kind = "stopped"


class DeviceError(EdgeoptError):
    """A device, or a process on it, did not do what was asked."""

    exit_code = ExitCode.DEVICE_FAILED
    kind = "device"


class LinkLostError(DeviceError):
    """The device could be reached and cannot be reached now; it may come back."""


class DeviceGoneError(LinkLostError):
    """The device was waited for and did not come back, or lets us in no more: nothing else is to be tried there."""


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
    """Return a hint for a mistyped name: the nearest known ones, or all of them when none is near.

    Args:
        name: What was typed.
        known: What could have been meant.
        listed: Whether the message lists all of them already.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if listed:
        return ""
    return f"known: {', '.join(names)}" if names else "none is known"


ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""What colours a terminal."""
MOST_CHARACTERS = 300
"""A longer message of a stranger's is cut: the log has all of it."""
DISK_IS_FULL = ("No space left on device", "Disk quota exceeded", "Quota exceeded")
"""The last one is what musl and Android call the second."""
FREE_SPACE = "free some space there: edgeopt devices clean NAME"


def readable(text: object) -> str:
    """Return what anything says of itself, as text that every file and every terminal can hold.

    A lone surrogate (of a file name that is no UTF-8, say) is written as an escape. What cannot even say what it is
    has its type named.
    """
    try:
        said = str(text)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's `__str__` may raise anything
        said = f"<{type(text).__name__} whose text fails with {type(error).__name__}>"
    return said.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: object) -> str:
    """Return a stranger's words in one line of a moderate length and without colours."""
    return " ".join(ANSI.sub("", readable(text)).split())[:MOST_CHARACTERS]


def in_words(error: BaseException) -> str:
    """Return any exception as `Type: what it says`, in one line."""
    lines = [line for line in ANSI.sub("", readable(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {one_line(lines[0])}" if lines else type(error).__name__


def last_words(output: str) -> str:
    """Return the last line that a program printed, as a hint; nothing where it printed none."""
    lines = [line for line in output.splitlines() if line.strip()]
    return f"its last words: {one_line(lines[-1])}" if lines else ""


def full_disk(error: object, where: str = "") -> EdgeoptError | None:
    """Return the error to show when the disk is full, None where that is not what went wrong.

    Args:
        error: An exception, or what another process said of one.
        where: Whose disk it is, the beginning of the message: a device, and what it was to do; this machine's when
            empty.
    """
    numbered = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if not numbered and not any(reason in readable(error) for reason in DISK_IS_FULL):
        return None
    if where:
        return DeviceError(f"{where}: its disk is full", hint=FREE_SPACE)
    return BadInputError("the disk is full", hint="free some space, or choose another folder with --out")
