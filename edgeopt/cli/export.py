"""`edgeopt export`: makes artifacts, runs them and prints the table."""

from __future__ import annotations

import sys

from edgeopt.cli import options
from edgeopt.cli.runs import carry_out, read_duration, read_size
from edgeopt.pipeline.request import ExportSettings

EXAMPLES = """\b
Examples:
  edgeopt export --target tflite-int8
  edgeopt export model.keras -t tflite-int8,tflite-float32 --data feeds.npz
  edgeopt export keras:MobileNetV2 --weights none --input-shape 96,96,3 -t all
  edgeopt export saved_model/ -t tflite-int8 --set quantizer=converter
"""
DEFAULTS = ExportSettings()


def export(  # noqa: PLR0913 - one parameter for each option
    model: options.Model = None,
    *,
    target: options.Targets = None,
    targets_dir: options.TargetsDirs = None,
    device: options.Device = DEFAULTS.device,
    settings: options.Settings = None,
    weights: options.Weights = DEFAULTS.weights,
    input_shape: options.InputShapes = None,
    batch: options.Batch = DEFAULTS.batch,
    signature: options.Signature = DEFAULTS.signature,
    custom_objects: options.CustomObjects = None,
    trust_model: options.TrustModel = DEFAULTS.trusted,
    data: options.Data = DEFAULTS.data,
    input_range: options.InputRanges = None,
    seed: options.Seed = DEFAULTS.seed,
    no_timing: options.NoTiming = False,
    seconds: options.Seconds = DEFAULTS.seconds,
    min_iterations: options.MinIterations = DEFAULTS.min_iterations,
    threads: options.Threads = DEFAULTS.threads,
    native_program: options.NativeProgram = DEFAULTS.native_program,
    ops: options.Ops = DEFAULTS.ops,
    sustained: options.Sustained = None,
    allow_degenerate: options.AllowDegenerate = DEFAULTS.allow_degenerate,
    rank: options.Rank = DEFAULTS.rank,
    min_agreement: options.MinAgreement = DEFAULTS.min_agreement,
    min_sqnr: options.MinSqnr = DEFAULTS.min_sqnr_db,
    jobs: options.Jobs = DEFAULTS.jobs,
    timeout: options.Timeout = DEFAULTS.timeout_s,
    memory_limit: options.MemoryLimit = None,
    out: options.Out = DEFAULTS.out,
    json: options.JsonOfRun = None,
) -> None:
    """Export a model, run every file, compare it with the model."""
    _run(
        ExportSettings(
            model=model,
            targets=tuple(target or ()),
            targets_dirs=tuple(targets_dir or ()),
            out=out,
            data=data,
            device=device,
            settings=tuple(settings or ()),
            jobs=jobs,
            timeout_s=timeout,
            memory_limit_bytes=read_size(memory_limit),
            timing=not no_timing,
            seconds=seconds,
            min_iterations=min_iterations,
            threads=threads,
            native_program=native_program,
            ops=ops,
            sustained_s=read_duration(sustained),
            rank=rank or min_agreement is not None or min_sqnr is not None,
            min_agreement=min_agreement,
            min_sqnr_db=min_sqnr,
            batch=batch,
            input_shapes=tuple(input_shape or ()),
            input_ranges=tuple(input_range or ()),
            signature=signature,
            weights=weights,
            custom_modules=tuple(custom_objects or ()),
            trusted=trust_model,
            allow_degenerate=allow_degenerate,
            seed=seed,
            command=("edgeopt", *sys.argv[1:]),
        ),
        json,
    )


def _run(settings: ExportSettings, json: str | None) -> None:
    """Run it, print the table, and end with the exit code of what was found."""
    from edgeopt.pipeline.export import run_export
    from edgeopt.report.table import render

    carry_out(lambda progress: run_export(settings, progress), lambda outcome: [render(outcome.run)], json)
