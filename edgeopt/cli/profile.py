"""`edgeopt profile`: measures artifacts that exist, on one device or several, and prints a table for each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edgeopt.cli import options
from edgeopt.cli.runs import carry_out, read_duration, read_size
from edgeopt.pipeline.request import ExportSettings

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = """\b
Examples:
  edgeopt profile dist/demo
  edgeopt profile dist/demo --device pi5 --device adb://SERIAL
  edgeopt profile dist/demo/tflite-int8 --device ssh://pi@raspberrypi --ops
  edgeopt profile dist/demo --device pi5 --resume
"""
DEFAULTS = ExportSettings(rank=True)


def profile(  # noqa: PLR0913 - one parameter for each option
    path: options.MadePath,
    *,
    device: options.Devices = None,
    target: options.MadeTargets = None,
    resume: options.Resume = DEFAULTS.resume,
    seconds: options.Seconds = DEFAULTS.seconds,
    min_iterations: options.MinIterations = DEFAULTS.min_iterations,
    threads: options.Threads = DEFAULTS.threads,
    native_program: options.NativeProgram = DEFAULTS.native_program,
    ops: options.Ops = DEFAULTS.ops,
    sustained: options.Sustained = None,
    allow_degenerate: options.AllowDegenerate = DEFAULTS.allow_degenerate,
    min_agreement: options.MinAgreement = DEFAULTS.min_agreement,
    min_sqnr: options.MinSqnr = DEFAULTS.min_sqnr_db,
    seed: options.Seed = DEFAULTS.seed,
    timeout: options.Timeout = DEFAULTS.timeout_s,
    memory_limit: options.MemoryLimit = None,
    json: options.JsonOfRun = None,
) -> None:
    """Measure artifacts that exist, on one device or several.

    Needs no model and no TensorFlow. Prints a table for each device and writes each run beside the artifacts.
    """
    _run(
        path,
        tuple(device or ()),
        ExportSettings(
            targets=tuple(target or ()),
            seconds=seconds,
            min_iterations=min_iterations,
            threads=threads,
            native_program=native_program,
            ops=ops,
            sustained_s=read_duration(sustained),
            rank=True,
            min_agreement=min_agreement,
            min_sqnr_db=min_sqnr,
            allow_degenerate=allow_degenerate,
            seed=seed,
            timeout_s=timeout,
            memory_limit_bytes=read_size(memory_limit),
            resume=resume,
            command=("edgeopt", *sys.argv[1:]),
        ),
        json,
    )


def _run(path: Path, devices: tuple[str, ...], settings: ExportSettings, json: str | None) -> None:
    """Measure, print a table for each device, and end with the exit code of what was found."""
    from edgeopt.pipeline.profile import Profiles, run_profile
    from edgeopt.report.table import RunView

    def views(found: Profiles) -> list[str | RunView]:
        tables = [RunView(run, document) for run, document in zip(found.runs, found.documents, strict=True)]
        return [part for table in tables for part in ("", table)][1:]

    carry_out(lambda progress: run_profile(path, devices, settings, progress), views, json)
