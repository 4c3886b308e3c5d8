"""A run as it is read from `run.json`, written by hand: figures to lay out, not measurements."""

from dataclasses import replace

import pytest

from edgeopt.report.schema import (
    ArtifactRecord,
    CalibrationRecord,
    Comparison,
    DataRecord,
    DeviceRecord,
    ErrorRecord,
    EvaluationRecord,
    Fidelity,
    FileRecord,
    Latency,
    Memory,
    ModelRecord,
    Result,
    Run,
    Tensor,
)


def artifact(target: str, size_bytes: int, calibration_feeds: int = 0) -> ArtifactRecord:
    """An artifact of one file."""
    files = (FileRecord("model.bin", size_bytes, "0" * 64),)
    path = f"dist/mobilenet_v2/{target}"
    return ArtifactRecord(path, size_bytes, size_bytes, files, calibration_feeds=calibration_feeds)


def latency(median_ms: float, half_ms: float, p90_ms: float | None = None, steady: bool = True) -> Latency:
    """A latency whose interval reaches `half_ms` to either side."""
    median, half = median_ms / 1e3, half_ms / 1e3
    p90 = None if p90_ms is None else p90_ms / 1e3
    return Latency(
        median, (median - half, median + half), median, median - 2 * half, p90, None, 400, 40, 0.1, 0.02, 1,
        (median,), steady, 3,
    )  # fmt: skip


def fidelity(agreement: float | None, **changes) -> Fidelity:
    """A fidelity over 1,000 feeds."""
    return replace(Fidelity(1000, agreement, 31.44, 0.99912, 0.0873, None, None), **changes)


SOURCE = Result(
    "source", "", "", "ok",
    artifact=artifact("source", 42_900_000), latency=latency(14.31, 0.08, 15.2),
    memory=Memory(612_000_000, 300_000_000),
)  # fmt: skip
FLOAT32 = Result(
    "tflite-float32", "tflite", "edgeopt 0.1.0", "ok",
    artifact=artifact("tflite-float32", 14_000_000), export_s=3.2, latency=latency(6.71, 0.04, 7.0),
    memory=Memory(46_000_000, 30_000_000), fidelity=fidelity(1.0, sqnr_db=118.2, max_abs=3.1e-6),
    versus_source=Comparison(3.064, 2.131, (2.11, 2.152), "faster"),
)  # fmt: skip
INT8 = Result(
    "tflite-int8", "tflite", "edgeopt 0.1.0", "ok",
    artifact=artifact("tflite-int8", 4_030_000, 64), export_s=9.8, latency=latency(3.12, 0.05, 3.3),
    memory=Memory(21_000_000, 9_000_000), fidelity=fidelity(0.988),
    versus_source=Comparison(10.65, 4.58, (4.5, 4.66), "faster"),
)  # fmt: skip
GPU = Result(
    "tf-gpu", "tf-gpu", "edgeopt 0.1.0", "ok",
    artifact=artifact("tf-gpu", 14_900_000), fidelity=fidelity(1.0, sqnr_db=121.0, max_abs=2.2e-6),
    versus_source=Comparison(2.879, None, None, None), untimed="no GPU on this device",
    warnings=("no GPU on this device",),
)  # fmt: skip
SAVED = Result(
    "saved-without-optimizer", "saved-without-optimizer", "edgeopt 0.1.0", "ok",
    artifact=artifact("saved-without-optimizer", 14_600_000), latency=latency(14.29, 0.07, 15.1),
    memory=Memory(611_000_000, 300_000_000), fidelity=fidelity(1.0, sqnr_db=None, cosine=1.0, max_abs=0.0),
    versus_source=Comparison(2.938, 1.001, (0.996, 1.006), "same"),
)  # fmt: skip
DEAD = Result(
    "tflite-int8-int16", "tflite", "edgeopt 0.1.0", "failed",
    error=ErrorRecord(
        "export", "its process ended after 3.1 s: killed by signal SIGSEGV", "try --set quantizer=converter",
        "dist/mobilenet_v2/logs/tflite-int8-int16.log",
    ),
)  # fmt: skip
MISSING = Result(
    "board",
    "board-tool",
    "board-tool 2.0",
    "unavailable",
    error=ErrorRecord("unavailable", "needs the program boardc, which is not on the path", "see edgeopt backends", ""),
)


@pytest.fixture
def run() -> Run:
    """A run with rows of every kind."""
    tensor = Tensor("image", (1, 224, 224, 3), "float32")
    return Run(
        "0.1.0", "2026-01-02T03:04:05+00:00", ("edgeopt", "export"),
        ModelRecord(
            "mobilenet_v2", "keras", "0" * 64, 42_900_000, (tensor,), (tensor,), "mobilenet_v2.keras",
            "the command line",
        ),
        DataRecord(
            CalibrationRecord("data.npz", 64, "0" * 64), EvaluationRecord("data.npz", 1000, labelled=False),
        ),
        DeviceRecord("local", "x86_64", "Linux", "AMD EPYC", 2, 8_000_000_000, "3.11.2"),
        (SOURCE, FLOAT32, INT8, GPU, SAVED, DEAD, MISSING),
        folder="dist/mobilenet_v2",
    )  # fmt: skip
