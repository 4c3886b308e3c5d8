"""Every error that edgeopt raises on purpose, each with its exit code and a hint for the user."""

from __future__ import annotations

import difflib
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
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log


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
