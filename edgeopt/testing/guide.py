"""How a check says what was expected, what was found, and where the guide for plugin authors explains it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from pathlib import Path

GUIDE = "docs/writing-a-backend.md"
LOG_LINES = 8


class Section(Enum):
    """The headings of the guide."""

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
        """Where the section is: the guide's file and the anchor in it."""
        return f"{GUIDE}#{self.value.lower().replace(' ', '-')}"


def refuse(section: Section, expected: str, found: str) -> NoReturn:
    """Fail the check that is running.

    Args:
        section: Where the guide explains it.
        expected: What a backend does that passes.
        found: What this one did.
    """
    # Not by the function `pytest.fail`: where an error was caught, its traceback would stand before the message.
    raise pytest.fail.Exception(f"expected: {expected}\nfound: {found}\nsee {section.link}", pytrace=False) from None


def require(holds: bool, section: Section, expected: str, found: str) -> None:
    """Fail the check that is running unless `holds`; see `refuse`."""
    if not holds:
        refuse(section, expected, found)


def last_lines(log: Path) -> str:
    """Return the last lines of a log, ready to stand behind a sentence; empty where there is nothing."""
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    return "".join(f"\n    | {line[:200]}" for line in lines)
