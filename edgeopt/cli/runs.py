"""What `edgeopt export` and `edgeopt profile` share: reading their options, and showing what a run has found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer

from edgeopt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeopt.errors import ExitCode
    from edgeopt.pipeline.request import Progress

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh])", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Outcome(Protocol):
    """What became of a command that measures."""

    @property
    def code(self) -> ExitCode:
        """The exit code that it earned."""
        ...

    @property
    def failure(self) -> Exception | None:
        """What ended it early, or kept it from being saved."""
        ...

    def to_json(self) -> str:
        """Return everything that was found."""
        ...


F = TypeVar("F", bound=Outcome)


def carry_out(action: Callable[[Progress], F], views: Callable[[F], Iterable[Any]], json: str | None) -> None:
    """Carry out a run, print what it found, and end with the exit code of that.

    Args:
        action: The run; it is given where to tell what is going on.
        views: What to print of what came out.
        json: Where the user wants it as JSON.
    """
    from edgeopt.cli.console import check_json, deliver, messages
    from edgeopt.cli.progress import watch

    check_json(json)
    with watch(messages()) as progress:
        found = action(progress)
    if messages().is_terminal:
        messages().print()  # between what went on and what came out
    deliver(found.to_json(), json, *views(found), beside=True)
    if found.failure is not None:
        raise found.failure
    if found.code:
        raise typer.Exit(found.code)


def read_size(text: str | None) -> int | None:
    """Return the bytes that a text such as `4GB` or `512MiB` stands for; None where nothing was said.

    Raises:
        UsageError: It is no size.
    """
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise UsageError(f"--memory-limit {text!r} is no size", hint="write it as 4GB or 512MiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[(match[2] or "").lower()])


def read_duration(text: str | None) -> float | None:
    """Return the seconds that a text such as `30s`, `5m` or `1h` stands for; None where nothing was said.

    Raises:
        UsageError: It is no duration.
    """
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise UsageError(f"--sustained {text!r} is no duration", hint="write it as 30s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2].lower()]
