"""The two places to print to: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError

if TYPE_CHECKING:
    from rich.console import Console


class ReaderIsGone(Exception):  # noqa: N818 - nothing went wrong: whoever read has seen enough
    """Standard output is closed at its other end; Typer would end the process as if that were an error."""


@cache
def results() -> Console:
    """Return the console for results."""
    return _console(stderr=False)


@cache
def messages() -> Console:
    """Return the console for progress, warnings and errors."""
    return _console(stderr=True)


def check_json(file: str | None) -> None:
    """Check before the work that `--json` names a place that can be written to.

    Raises:
        BadInputError: It does not.
    """
    if file is None or file == "-":
        return
    path = Path(file)
    if not path.parent.is_dir():
        raise BadInputError(f"--json {file}: there is no folder {path.parent}", hint="make it first")
    if path.is_dir():
        raise BadInputError(f"--json {file}: it is a folder", hint="name a file in it, or - for standard output")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadInputError(f"--json {file}: it cannot be written to", hint="name another file")


def deliver(document: str, file: str | None, *views: Any, beside: bool = False) -> None:
    """Print the views and write the JSON document where `--json` says.

    Args:
        document: JSON.
        file: A path, `-` for standard output, which then holds nothing else, or None.
        views: What rich can print.
        beside: With `-`, the views are shown on standard error instead of nowhere.

    Raises:
        BadInputError: The file cannot be written.
    """
    console = results() if file != "-" else messages() if beside else None
    try:
        _write(document, file)
    finally:  # whichever of the two cannot be written, the other must not be lost
        if console is not None:
            for view in views:
                console.print(view, crop=False)


def _write(document: str, file: str | None) -> None:
    """Write a JSON document where `--json` says."""
    if file == "-":
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the terminal is
        try:
            sys.stdout.write(document + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderIsGone from None
    elif file is not None:
        try:
            Path(file).write_text(document + "\n", "utf-8")
        except OSError as error:
            raise BadInputError(f"--json {file}: {error.strerror}", hint="name another file") from error


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal that cannot show ± shows ?, instead of ending the program

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise ReaderIsGone

    return Plain(stderr=stderr, highlight=False, markup=False, emoji=False)
