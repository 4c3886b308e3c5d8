"""Messages of failed checks: expected, found, and a link into the guide for plugin authors."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from pathlib import Path

GUIDE = "docs/writing-a-backend.md"
LOG_LINES = 8


class Section(Enum):
    """Headings of the guide."""

    BACKEND = "The backend"
    OPTIONS = "Options"
    EXPORT = "Export"
    SAME_BYTES = "The same bytes twice"
    RUNNER = "The runner"
    REQUIREMENTS = "Requirements"
    THREADS = "Threads"
    SYNCHRONISING = "Synchronising"
    MODELS = "Models it must take"
    FIDELITY = "Fidelity"
    TARGETS = "Targets"

    @property
    def link(self) -> str:
        """Link to the section: the guide's file and the anchor in it."""
        return f"{GUIDE}#{self.value.lower().replace(' ', '-')}"


def refuse(section: Section, expected: str, found: str) -> NoReturn:
    """Fail the current check.

    Args:
        section: Section of the guide that explains it.
        expected: Behaviour of a backend that passes.
        found: Behaviour of this backend.
    """
    # Not `pytest.fail()`: after a caught error, its traceback would precede the message.
    raise pytest.fail.Exception(f"expected: {expected}\nfound: {found}\nsee {section.link}", pytrace=False) from None


def require(holds: bool, section: Section, expected: str, found: str) -> None:
    """Fail the current check unless `holds`; see `refuse`."""
    if not holds:
        refuse(section, expected, found)


def last_lines(log: Path) -> str:
    """Return the last lines of a log, formatted to follow a sentence; empty if it is empty or unreadable."""
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    return "".join(f"\n    | {line[:200]}" for line in lines)
