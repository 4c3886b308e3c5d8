"""TensorFlow Lite's own benchmark program, for devices without Python: how it is called, and what it prints."""

from __future__ import annotations

import math
import re

from edgeopt.api import NativeTimes

WARM_S = 1.0
_NUMBER = r"[-+.\deE]+"
_RUNS = re.compile(
    rf"^(?:INFO: )?count=(?P<count>\d+)(?: first=(?P<first>{_NUMBER}))? curr=(?P<curr>{_NUMBER})(?:\(all same\))?"
    rf"(?: min=(?P<min>{_NUMBER}) max={_NUMBER} avg=(?P<avg>{_NUMBER}) std=(?P<std>{_NUMBER}))?"
    rf"(?: p5={_NUMBER} median=(?P<median>{_NUMBER}) p95={_NUMBER})?[ \r]*$",
    re.MULTILINE,
)
_LOADED = re.compile(rf"Initialized session in ({_NUMBER}) ?ms")
_MEMORY = re.compile(
    rf"(?:emory footprint[\w ]* \(MB\): init={_NUMBER} overall=|Overall footprint: +)({_NUMBER})", re.MULTILINE
)
PHASES = 2
"""It tells of its runs twice: those to warm up, then those that it times."""


def command(program: str, main: str, threads: int, seconds: float) -> tuple[str, ...]:
    """Return the command that times a file for at least so long, after a second of warming up."""
    return (
        program,
        f"--graph={main}",
        f"--num_threads={threads}",
        f"--min_secs={seconds:g}",
        f"--warmup_min_secs={WARM_S:g}",
    )


def read(output: str) -> NativeTimes:
    """Return what `benchmark_model` printed.

    It prints a line of statistics for the runs that warm up and one for those that are timed, in microseconds; newer
    ones with the median. Where all runs took the same, the line has that one time only. Sources, in TensorFlow:
    `tensorflow/lite/tools/benchmark/benchmark_model.cc` and `Stat::OutputToStream` in `tsl/util/stats_calculator.h`;
    in LiteRT, whose program prints the same lines before a summary of its own: `tflite/tools/benchmark/` and
    `litert/tools/benchmark_litert_model.h`. Memory is told as "(MB)" and is in fact KiB / 1024.

    Raises:
        ValueError: No times are in it.
    """
    phases = list(_RUNS.finditer(output))
    if len(phases) < PHASES:
        raise ValueError("benchmark_model printed no times")
    warm, timed = phases[-2:]
    loaded, memory = _LOADED.search(output), _MEMORY.search(output)
    only = timed["curr"]  # where all took the same, it is the only time on the line
    return NativeTimes(
        count=int(timed["count"]),
        mean_s=_us(timed["avg"] or only),
        median_s=_us(timed["median"]) if timed["median"] else None if timed["avg"] else _us(only),
        min_s=_us(timed["min"] or only),
        std_s=_us(timed["std"]) if timed["std"] else 0.0,
        load_s=_number(loaded[1]) / 1e3 if loaded else None,
        first_s=_us(warm["first"] or warm["curr"]),
        model_bytes=round(_number(memory[1]) * 2**20) or None if memory else None,
    )


def _us(text: str) -> float:
    """Return microseconds as seconds."""
    return _number(text) / 1e6


def _number(text: str) -> float:
    """Return a number as C++ prints it.

    Raises:
        ValueError: It is none that a time or an amount can be.
    """
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{text} is no time and no amount")
    return number
