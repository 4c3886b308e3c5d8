"""TensorFlow Lite's own benchmark program, for devices without Python: its command and its output."""

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
"""It prints statistics twice: of the warm-up runs, then of the timed runs."""


def command(program: str, main: str, threads: int, seconds: float) -> tuple[str, ...]:
    """Return the command that times a file for at least `seconds`, after one second of warm-up."""
    return (
        program,
        f"--graph={main}",
        f"--num_threads={threads}",
        f"--min_secs={seconds:g}",
        f"--warmup_min_secs={WARM_S:g}",
    )


def read(output: str) -> NativeTimes:
    """Return the times and the memory that `benchmark_model` printed.

    It prints one line of statistics for the warm-up runs and one for the timed runs, in microseconds; newer versions
    add the median. If all runs took the same time, the line has only that time. Sources, in TensorFlow:
    `tensorflow/lite/tools/benchmark/benchmark_model.cc` and `Stat::OutputToStream` in `tsl/util/stats_calculator.h`;
    in LiteRT, whose program prints the same lines before its own summary: `tflite/tools/benchmark/` and
    `litert/tools/benchmark_litert_model.h`. Memory is labelled "(MB)" but is KiB / 1024.

    Raises:
        ValueError: The output does not contain valid times.
    """
    phases = list(_RUNS.finditer(output))
    if len(phases) < PHASES:
        raise ValueError("benchmark_model printed no times")
    warm, timed = phases[-2:]
    loaded, memory = _LOADED.search(output), _MEMORY.search(output)
    only = timed["curr"]  # if all runs took the same time, it is the only one on the line
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
        ValueError: It is negative or not finite.
    """
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{text} is no time and no amount")
    return number
