"""The command `edgeopt`: its commands and the options that all of them share."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeopt.cli import backends, devices, doctor, export, plugins, profile, targets, verify
from edgeopt.cli.group import DEBUG, NO_PLUGIN, Command, Commands

app = typer.Typer(
    name="edgeopt",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help takes twice as long to appear, and its frames leave less room for the words
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: edgeopt export --target tflite-int8",
)
app.command("export", cls=Command, epilog=export.EXAMPLES)(export.export)
app.command("profile", cls=Command, epilog=profile.EXAMPLES)(profile.profile)
app.command("backends", cls=Command)(backends.backends)
app.command("doctor", cls=Command)(doctor.doctor)
app.command("verify", cls=Command)(verify.verify)
app.add_typer(targets.app, name="targets")
app.add_typer(plugins.app, name="plugins")
app.add_typer(devices.app, name="devices")


def _show_version(wanted: bool) -> None:
    if wanted:
        from edgeopt import __version__

        typer.echo(f"edgeopt {__version__}")
        raise typer.Exit


@app.callback()
def edgeopt(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[  # noqa: ARG001 - taken out before Typer sees it; here for the help
        bool, typer.Option(DEBUG, help="Show where an error came from; works behind any command too.")
    ] = False,
    no_plugin: Annotated[
        list[str] | None,
        typer.Option(NO_PLUGIN, metavar="NAME", help="Do without a plugin; works behind any command too."),
    ] = None,
) -> None:
    """Export one TensorFlow/Keras model for many devices, run every file, see which one to ship."""
    if no_plugin:
        from edgeopt.discovery import leave_out

        leave_out(no_plugin)
