"""How Typer behaves here: one way to print errors, `--debug` anywhere, options of a long help in groups."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from edgeopt.cli.failures import guarded

if TYPE_CHECKING:
    from collections.abc import Sequence

DEBUG = "--debug"
NO_PLUGIN = "--no-plugin"


class Group(TyperGroup):
    """A group of commands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands first: they are what the reader looks for."""
        self.format_commands(ctx, formatter)
        write_options(self, ctx, formatter)


class Commands(Group):
    """The group of all commands; it ends the process with the right exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; unlike Typer's own, every error goes through `failures`."""
        given = list(sys.argv[1:] if args is None else args)
        arguments = _shared_first([argument for argument in given if argument != DEBUG])
        call = super().main

        def action() -> Any:
            return call(arguments, prog_name, complete_var, False, windows_expand_args, **extra)

        if not standalone_mode:
            return action()
        sys.exit(guarded(action, debug=DEBUG in given))


def _shared_first(arguments: Sequence[str]) -> list[str]:
    """Move `--no-plugin NAME` to the front, where Typer wants it; a user may write it behind any command."""
    first, rest, ahead = [], [], list(arguments)
    while ahead:
        argument = ahead.pop(0)
        if argument == NO_PLUGIN and ahead:
            first += [argument, ahead.pop(0)]
        elif argument.startswith(f"{NO_PLUGIN}="):
            first.append(argument)
        else:
            rest.append(argument)
    return [*first, *rest]


class Command(TyperCommand):
    """A command whose options stand in groups, by the `rich_help_panel` that each names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section for every group."""
        write_options(self, ctx, formatter)


def write_options(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    """Write arguments and options, in sections in the order in which their names first appear."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is None:
            continue
        if param.param_type_name == "argument":
            # Typer writes the type behind the name, `MODEL <str>`; the help says better what to give.
            sections.setdefault("Arguments", []).append((record[0].partition(" <")[0], record[1]))
        else:
            sections.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(record)
    for name, records in sections.items():
        with formatter.section(name):
            formatter.write_dl(records)
