"""The state of each target during a run, and the row made from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeopt.measure import stats
from edgeopt.report import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgeopt.errors import EdgeoptError
    from edgeopt.measure.fidelity import Fidelity
    from edgeopt.measure.measurement import Measurement
    from edgeopt.measure.verdicts import Speedup
    from edgeopt.pipeline.exporting import Exported
    from edgeopt.pipeline.plan import Plan, Refusal


@dataclass(slots=True)
class Entry:
    """The state of one target, from which its row is made; None means not yet known."""

    plan: Plan | Refusal
    error: EdgeoptError | None = None
    exported: Exported | None = None
    folder: Path | None = None
    """The artifact's current folder: first in the scratch folder, later its final one."""
    published: bool = False
    gzip_bytes: int = 0
    fidelity: Fidelity | None = None
    degenerate: str | None = None
    answered: bool = False
    """Whether the artifact ran on the evaluation feeds; otherwise, timing it would be meaningless."""
    untimed: str | None = None
    measurement: Measurement | None = None
    operators: tuple[schema.Operator, ...] = ()
    operators_problem: str = ""
    native: schema.Native | None = None
    sustained: schema.Sustained | None = None
    sustained_problem: str = ""

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.plan.target.name

    @property
    def sha256(self) -> str:
        """Hash of the paths and hashes of all its files; that of an empty text before the export."""
        files = self.exported.files if self.exported else ()
        return hashlib.sha256("".join(f"{file.path} {file.sha256}\n" for file in files).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Total size of its files; 0 before the export."""
        return sum(file.bytes for file in self.exported.files) if self.exported else 0

    @property
    def is_timed(self) -> bool:
        """Whether it was timed side by side with other artifacts."""
        return self.measurement is not None and bool(self.measurement.launches)

    @property
    def is_done(self) -> bool:
        """Whether the entry is complete."""
        return self.published and (self.untimed is not None or self.is_timed or self.native is not None)


def result_of(
    entry: Entry,
    source: schema.Result,
    speedup: Speedup | None,
    *,
    budget: Mapping[str, float],
    doubt: str | None = None,
) -> schema.Result:
    """Return the row of one target.

    Args:
        entry: The state of the target.
        source: The row of the source model.
        speedup: Its speed-up over the source model; None if one of them was not timed.
        budget: Its limits by name.
        doubt: The likely cause of a low accuracy, else None.
    """
    latency = latency_record(entry.measurement)
    memory = memory_record(entry.measurement)
    artifact = _artifact_record(entry)
    result = schema.Result(
        target=entry.name,
        backend=entry.plan.target.backend,
        plugin=entry.plan.plugin,
        status=_status(entry),
        error=error_record(entry.error),
        artifact=artifact,
        export_s=entry.exported.export_s if entry.exported else None,
        latency=latency,
        memory=memory,
        fidelity=_fidelity_record(entry.fidelity),
        versus_source=_comparison(artifact, source, speedup),
        warnings=(*_warnings(entry), *filter(None, [doubt])),
        untimed=entry.untimed or "",
        operators=entry.operators,
        operators_problem=entry.operators_problem,
        native=entry.native,
        sustained=entry.sustained,
        sustained_problem=entry.sustained_problem,
    )
    return _with_budget(result, budget)


def latency_record(measurement: Measurement | None) -> schema.Latency | None:
    """Return the latency record of a measurement, or None if there is not any."""
    summary = stats.summarise(measurement) if measurement is not None and measurement.launches else None
    if summary is None:
        return None
    return schema.Latency(**{name: getattr(summary, name) for name in schema.Latency.__dataclass_fields__})


def memory_record(measurement: Measurement | None) -> schema.Memory | None:
    """Return the memory record of a measurement, or None if no process reported its memory."""
    if measurement is None or measurement.peak_bytes is None or measurement.model_bytes is None:
        return None
    return schema.Memory(measurement.peak_bytes, measurement.model_bytes)


def error_record(error: EdgeoptError | None) -> schema.ErrorRecord | None:
    """Return the record of an error."""
    return None if error is None else schema.ErrorRecord(error.kind, error.message, error.hint, error.log)


def _status(entry: Entry) -> schema.Status:
    if entry.error is None:
        return "ok"
    return "unavailable" if entry.error.kind == "unavailable" else "failed"


def _artifact_record(entry: Entry) -> schema.ArtifactRecord | None:
    exported = entry.exported
    if exported is None:
        return None
    return schema.ArtifactRecord(
        path=str(entry.folder) if entry.published else "",
        size_bytes=entry.size_bytes,
        gzip_bytes=entry.gzip_bytes,
        files=tuple(schema.FileRecord(file.path, file.bytes, file.sha256) for file in exported.files),
        metadata={**exported.metadata, **(entry.measurement.facts if entry.measurement else {})},
        calibration_feeds=exported.calibration_feeds,
    )


def _fidelity_record(fidelity: Fidelity | None) -> schema.Fidelity | None:
    if fidelity is None:
        return None
    return schema.Fidelity(**{name: getattr(fidelity, name) for name in schema.Fidelity.__dataclass_fields__})


def _comparison(
    artifact: schema.ArtifactRecord | None, source: schema.Result, speedup: Speedup | None
) -> schema.Comparison | None:
    """Compare an artifact with the source model: size always, speed only if both were timed."""
    if artifact is None or source.artifact is None:
        return None
    size_ratio = source.artifact.size_bytes / artifact.size_bytes if artifact.size_bytes else None
    if speedup is None:
        return schema.Comparison(size_ratio, None, None, None)
    return schema.Comparison(
        size_ratio,
        speedup.ratio,
        speedup.ci95,
        speedup.verdict,
        speedup.within,
        speedup.seconds_needed,
        speedup.takes_s,
    )


def _warnings(entry: Entry) -> Iterator[str]:
    """Yield the warnings of a row."""
    if entry.exported is not None:
        yield from entry.exported.warnings
    if entry.untimed:
        yield entry.untimed
    if entry.degenerate and entry.published:
        yield f"allowed though it answers nonsense: {entry.degenerate}"


def _with_budget(result: schema.Result, budget: Mapping[str, float]) -> schema.Result:
    """Return the result with one budget line per limit of its target."""
    timed = result.latency or result.native
    values = {
        "max_size_bytes": result.artifact.size_bytes if result.artifact else None,
        "max_median_s": timed.median_s if timed else None,
        "max_peak_bytes": result.memory.peak_bytes if result.memory else None,
        "min_top1_agreement": result.fidelity.top1_agreement if result.fidelity else None,
        "min_sqnr_db": result.fidelity.sqnr_db if result.fidelity else None,
        "min_accuracy": result.fidelity.accuracy if result.fidelity else None,
    }
    lines = []
    for name, limit in budget.items():
        value = values[name]
        if name == "min_sqnr_db" and result.fidelity and result.fidelity.is_exact:
            met: bool | None = True  # without any error the ratio is infinite, which JSON cannot represent
        else:
            met = None if value is None else (value <= limit if name.startswith("max_") else value >= limit)
        lines.append(schema.BudgetLine(name, float(limit), value, met))
    return replace(result, budget=tuple(lines))
