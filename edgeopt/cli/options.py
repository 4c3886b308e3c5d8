"""The options of the commands: how each is written, and what its help says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

MODEL, DATA, MEASURING, EXPORTING = "The model", "The data", "Measuring", "Exporting"
LIMITS, OUTPUT = "Limits", "Output"
RANKING = "Choosing"


def complete_target(incomplete: str) -> list[str]:
    """Return the names of targets that go on from `incomplete`, which may be a list with commas."""
    from edgeopt.targets import find_targets

    done, comma, last = incomplete.rpartition(",")
    names = [name for name, target in find_targets().items() if target.problem is None]
    return [f"{done}{comma}{name}" for name in (*names, "all") if name.startswith(last)]


def complete_device(incomplete: str) -> list[str]:
    """Return the names of devices that go on from `incomplete`."""
    from edgeopt.devices.book import LOCAL, find_entries
    from edgeopt.errors import BadInputError

    try:
        names = [LOCAL, *find_entries()]
    except BadInputError:  # of the project; the command itself will say so
        names = [LOCAL]
    return [name for name in names if name.startswith(incomplete)]


def complete_backend(incomplete: str) -> list[str]:
    """Return the names of backends that go on from `incomplete`."""
    from edgeopt.registry import find_backends

    return [name for name in find_backends().backends if name.startswith(incomplete)]


_JSON_HELP = "Write everything as JSON; - is standard output, which then holds nothing else."
Json: TypeAlias = Annotated[str | None, typer.Option("--json", metavar="FILE", help=_JSON_HELP)]
JsonOfRun: TypeAlias = Annotated[
    str | None, typer.Option("--json", metavar="FILE", rich_help_panel=OUTPUT, help=_JSON_HELP)
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help="A .keras or .h5 file, a SavedModel folder, or keras:NAME for a model of Keras Applications."
        " Without it: what edgeopt.toml or pyproject.toml names here, else a small demo that comes with edgeopt.",
    ),
]
Targets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="NAME",
        autocompletion=complete_target,
        help="What to export for; may be repeated, or a list with commas; all is every target. See edgeopt targets.",
    ),
]
TargetsDirs: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--targets-dir", metavar="DIR", help="A folder with target files of your own, beside targets/ in this folder."
    ),
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=complete_device,
        show_default="what the targets name, else local",
        help="Where to run what was exported: a name of edgeopt devices, ssh://user@host, adb://serial, or"
        " qemu://PROCESSOR for an emulated x86 processor.",
    ),
]
MadePath: TypeAlias = Annotated[
    Path, typer.Argument(metavar="PATH", help="The folder of a model that edgeopt export wrote, or one artifact.")
]
MadeTargets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="NAME",
        show_default="all",
        help="Which artifacts; may be repeated, or a list with commas.",
    ),
]
Devices: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=complete_device,
        show_default="local",
        help="Where to measure: a name of edgeopt devices, ssh://user@host, adb://serial, or qemu://PROCESSOR for an"
        " emulated x86 processor (accuracy without times). May be repeated: other machines are measured at once, what"
        " runs on this machine in turn.",
    ),
]
Resume: TypeAlias = Annotated[
    bool, typer.Option("--resume", help="Go on with a measurement that was ended: measure only what is missing.")
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set an option of a backend: for all chosen targets that have it, or with TARGET.KEY=VALUE for one."
        " See edgeopt backends.",
    ),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option("--weights", metavar="NAME", rich_help_panel=MODEL, help="For keras:NAME: imagenet, none or a file."),
]
InputShapes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="SHAPE",
        rich_help_panel=MODEL,
        help="Shape of an input without the batch, where the model leaves it open: 96,96,3 or NAME=96,96,3.",
    ),
]
Batch: TypeAlias = Annotated[
    int,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        rich_help_panel=MODEL,
        show_default=True,
        help="The batch size of every artifact.",
    ),
]
Signature: TypeAlias = Annotated[
    str | None,
    typer.Option("--signature", metavar="NAME", rich_help_panel=MODEL, help="For a SavedModel that has several."),
]
CustomObjects: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--custom-objects",
        metavar="MODULE",
        rich_help_panel=MODEL,
        help="A Python module that registers custom layers; imported before the model is loaded.",
    ),
]
TrustModel: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust-model", rich_help_panel=MODEL, help="Run code that is stored in the model file (Lambda layers)."
    ),
]
Data: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        rich_help_panel=DATA,
        help="Real feeds: a .npz with arrays named like the inputs, and labels if there are some."
        " Without it the feeds are noise, and the table says so.",
    ),
]
InputRanges: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--input-range",
        metavar="RANGE",
        rich_help_panel=DATA,
        help="What noise is drawn from: 0,255 or NAME=0,255.",
    ),
]
Seed: TypeAlias = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        rich_help_panel=DATA,
        show_default=True,
        help="Of the noise, and of the split into calibration and evaluation.",
    ),
]
Seconds: TypeAlias = Annotated[
    float,
    typer.Option(
        "--seconds",
        metavar="S",
        min=0,
        rich_help_panel=MEASURING,
        show_default=True,
        help="Time each artifact for about so long at most, in launches of a quarter of a second; a clear comparison"
        " takes less.",
    ),
]
MinIterations: TypeAlias = Annotated[
    int,
    typer.Option(
        "--min-iterations",
        metavar="N",
        min=1,
        rich_help_panel=MEASURING,
        show_default=True,
        help="Run each artifact at least so often.",
    ),
]
Rank: TypeAlias = Annotated[
    bool, typer.Option("--rank", rich_help_panel=RANKING, help="Say which artifact to ship, and why not the others.")
]
MinAgreement: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        metavar="SHARE",
        min=0,
        max=1,
        rich_help_panel=RANKING,
        help="Ship none that gives the source's answer less often: 0.98. That is also what classifiers are asked for"
        " if nothing is said.",
    ),
]
MinSqnr: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--min-sqnr",
        metavar="DB",
        rich_help_panel=RANKING,
        help="Ship none whose error is larger than this below the signal, in dB. Other models than classifiers are"
        " asked for 20 if nothing is said.",
    ),
]
Threads: TypeAlias = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        rich_help_panel=MEASURING,
        show_default=True,
        help="Threads of every runtime alike.",
    ),
]
NativeProgram: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--native-program",
        metavar="FILE",
        rich_help_panel=MEASURING,
        help="For a phone without Python: a benchmark program to push and run there, such as TensorFlow Lite's"
        " benchmark_model, built for that phone.",
    ),
]
NoTiming: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-timing",
        rich_help_panel=MEASURING,
        help="Do not time the artifacts: export them and compare them with the model. Faster, for budgets on size and"
        " accuracy.",
    ),
]
Ops: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--ops",
        rich_help_panel=MEASURING,
        help="Say where the time goes: the slowest operators of each artifact, and which kernels ran them.",
    ),
]
Sustained: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--sustained",
        metavar="TIME",
        rich_help_panel=MEASURING,
        help="Let each artifact run on for so long (30s, 5m, 1h), one after another, and say which is the fastest"
        " when the device is cold, and which when it is hot.",
    ),
]
AllowDegenerate: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-degenerate", rich_help_panel=MEASURING, help="Let outputs pass that are constant, all zero or NaN."
    ),
]
Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        rich_help_panel=EXPORTING,
        show_default="what cores and memory allow",
        help="How many exports run at once.",
    ),
]
Timeout: TypeAlias = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="S",
        min=0,
        rich_help_panel=LIMITS,
        show_default=True,
        help="End an export, or an artifact that does not answer, after so many seconds; wait no longer for a device"
        " that is in use.",
    ),
]
MemoryLimit: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--memory-limit",
        metavar="SIZE",
        rich_help_panel=LIMITS,
        help="Memory that one child process may use, as 4GB or 512MiB; nine tenths of what is free if left out.",
    ),
]
Out: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--out", metavar="DIR", rich_help_panel=OUTPUT, show_default=True, help="Write to DIR/<model>/<target>."
    ),
]
