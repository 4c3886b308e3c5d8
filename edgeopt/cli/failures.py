"""The one place that prints an error: what is wrong, where, and what to do next."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgeopt.cli.console import ReaderIsGone
from edgeopt.errors import BadInputError, EdgeoptError, ExitCode, in_words

if TYPE_CHECKING:
    from collections.abc import Callable


MODELS = (".keras", ".h5")
SIGPIPE_CODE = 141
"""As a shell reports a program that SIGPIPE ended."""


def guarded(action: Callable[[], Any], *, debug: bool) -> int:
    """Run a command and return its exit code; whatever it raises is printed, with a traceback only for `debug`."""
    try:
        result = action()
    except EdgeoptError as error:
        _trace(debug)
        return show_error(error)
    except typer.TyperException as error:
        return _show_misuse(error)
    except (KeyboardInterrupt, typer.Abort):
        result = ExitCode.INTERRUPTED
    except ReaderIsGone:  # as in `edgeopt targets | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush does not fail again
        return SIGPIPE_CODE
    except OSError as error:
        refusal = _as_bad_input(error)
        if refusal is None:
            _trace(debug)
            return _show_bug(error, debug=debug)
        result = show_error(refusal)
    except Exception as error:  # noqa: BLE001 - a bug, whatever it is
        _trace(debug)
        return _show_bug(error, debug=debug)
    code = result if isinstance(result, int) else ExitCode.OK
    if code == ExitCode.INTERRUPTED:
        _show("interrupted")
    return code


def show_error(error: EdgeoptError) -> int:
    """Print an error with its hint and its log, and return its exit code."""
    _show(error.message, hint=error.hint, log=error.log)
    return error.exit_code


def _show_misuse(error: typer.TyperException) -> int:
    """Print what Typer found wrong on the command line, in the form of all other errors."""
    context = getattr(error, "ctx", None)
    near = getattr(error, "possibilities", None)
    message = error.message if near is not None else error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message, err=True)
        return ExitCode.USAGE
    first, _, rest = message.rstrip("?. ").partition(". Did you mean ")
    hint = _slip(first) or (f"see {context.command_path} --help" if context is not None else "see edgeopt --help")
    if near or rest:
        hint = f"did you mean {' or '.join(sorted(near)) if near else rest.replace(', ', ' or ')}?"
    _show(first[:1].lower() + first[1:], hint=hint.replace("'", ""))
    return error.exit_code


def _slip(message: str) -> str:
    """Return what was probably meant by a word that stands where it must not, or nothing."""
    word = re.search(r"[Uu]nexpected extra argument(?:\(s\)|s)? \(([^\s)]+)|[Nn]o such command ['\"](.+)['\"]", message)
    if word is None:
        return ""
    if word[1] is not None:
        from edgeopt.targets import find_targets

        return (
            "name several targets in one list, with commas and no spaces: -t a,b" if word[1] in find_targets() else ""
        )
    path = Path(word[2])
    return f"did you mean edgeopt export {path}?" if path.suffix in MODELS or path.exists() else ""


def _show_bug(error: Exception, *, debug: bool) -> int:
    """Print that edgeopt itself went wrong."""
    again = "" if debug else "run the same command with --debug, then "
    hint = f"{again}report what it prints, together with the output of edgeopt doctor"
    _show(f"a bug in edgeopt: {in_words(error)}", hint=hint)
    return ExitCode.BUG


def _show(message: str, *, hint: str = "", log: str = "") -> None:
    from edgeopt.cli.console import messages
    from edgeopt.report.grid import wrapped
    from edgeopt.report.notes import shown_path
    from edgeopt.report.plain import plain

    console = messages()
    width = console.width if console.is_terminal else sys.maxsize  # in a log, one line is one message
    lines = (
        ("error", "bold red", plain(message)),
        ("hint", "bold", plain(hint)),
        ("log", "bold", log and shown_path(log)),
    )
    for word, style, text in lines:
        for number, line in enumerate(wrapped(f"{word}: {text}", width) if text else ()):
            if number == 0:
                line.stylize(style, 0, len(word) + 1)
            console.print(line, soft_wrap=True)


def _as_bad_input(error: OSError) -> BadInputError | None:
    """Return what is wrong with the place that edgeopt works in, None where that is not what went wrong."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return BadInputError("the current folder no longer exists", hint="change into another one")
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
        return BadInputError(f"the output cannot be written: {error.strerror}", hint="free some space")
    return None


def _trace(debug: bool) -> None:
    if debug:
        typer.echo(traceback.format_exc(), err=True, nl=False)
