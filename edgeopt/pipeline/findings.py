"""The findings of one run so far, and the document made from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from edgeopt.artifact import edgeopt_version
from edgeopt.errors import KINDS, ExitCode
from edgeopt.measure import size
from edgeopt.measure.verdicts import MIN_LAUNCHES, Design, compare
from edgeopt.pipeline.dot_product import overflow, slow_int8
from edgeopt.pipeline.entries import Entry, error_record, latency_record, memory_record, result_of
from edgeopt.pipeline.ranking import Bound, rank
from edgeopt.report import schema

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from edgeopt.contract import TensorSpec
    from edgeopt.data import FeedSet
    from edgeopt.errors import EdgeoptError
    from edgeopt.measure.facts import Facts
    from edgeopt.measure.measurement import Measurement
    from edgeopt.measure.verdicts import Speedup
    from edgeopt.pipeline.exporting import OpenedModel
    from edgeopt.source.choice import SourceChoice


TIMED = ("max_median_s", "max_peak_bytes")
"""Budget limits that only a timed artifact can meet."""


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """The source model's own file or folder, which the user would ship without edgeopt."""

    path: Path
    files: tuple[schema.FileRecord, ...]
    gzip_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> ShippedModel:
        """Measure and hash the file or folder at `path`."""
        files = tuple(schema.FileRecord(file.path, file.bytes, file.sha256) for file in size.hash_tree(path))
        return cls(path, files, size.gzip_bytes(path), size.sha256(path))

    @property
    def size_bytes(self) -> int:
        """Total size of all files."""
        return sum(file.bytes for file in self.files)

    def record(self, path: str) -> schema.ArtifactRecord:
        """Return the artifact record for the source's row."""
        return schema.ArtifactRecord(path, self.size_bytes, self.gzip_bytes, self.files)


@dataclass(slots=True)
class Findings:
    """The findings of a run, filled in by the steps of a job."""

    started: str
    command: tuple[str, ...]
    folder: Path
    model: schema.ModelRecord
    data: schema.DataRecord
    source: schema.ArtifactRecord | None
    """The files that the user would ship without edgeopt; None if unknown."""
    evaluation: Path
    """The folder of evaluation feeds."""
    facts: Facts
    entries: Mapping[str, Entry]
    health: Mapping[str, Any] = field(default_factory=dict)
    source_error: EdgeoptError | None = None
    source_measurement: Measurement | None = None
    design: Design = field(default_factory=lambda: Design(MIN_LAUNCHES))
    """The session's inputs to the verdicts besides the samples; set once something has been timed."""
    control_problem: str = ""
    """Why no second copy of an artifact was measured."""
    source_untimed: str = ""
    """Why the source model was not timed on the device."""
    source_doubts: list[str] = field(default_factory=list)
    """Why the source's outputs prove nothing about fidelity, or cannot be kept for a later profile."""
    untimed: str = ""
    """Why nothing is timed on the device; if set, the ranking is omitted and the bound joins each artifact's budget."""
    bound: Bound | None = None
    """The accuracy bound for the ranking; None if no ranking was requested."""


def now() -> str:
    """Return the local time in ISO 8601, with seconds and UTC offset, as in `Run.started`."""
    return datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")


def make_run(found: Findings) -> schema.Run:
    """Return the document of all findings so far."""
    source = _source_result(found)
    entries = list(found.entries.values())
    rows = [
        result_of(
            entry,
            source,
            _speedup(entry, found),
            budget=_budget(entry, found),
            doubt=overflow(entry, entries, found.facts),
        )
        for entry in entries
    ]
    return schema.Run(
        edgeopt=edgeopt_version(),
        started=found.started,
        command=found.command,
        model=found.model,
        data=found.data,
        device=schema.DeviceRecord(**asdict(found.facts), health=found.health),
        results=(source, *rows),
        folder=str(found.folder),
        notes=tuple(slow_int8(entries, found.facts, found.design)),
        ranking=_ranking(found, (source, *rows)),
        control=_control_record(found),
        untimed=found.untimed,
    )


def _speedup(entry: Entry, found: Findings) -> Speedup | None:
    """Return an artifact's speed-up over the source model, or None if one of them was not timed."""
    if entry.measurement is None or found.source_measurement is None:
        return None
    return compare(entry.measurement, found.source_measurement, found.design)


def _ranking(found: Findings, rows: Sequence[schema.Result]) -> schema.Ranking | None:
    """Return the ranking; None if it was not requested, or nothing is timed."""
    if found.bound is None or found.untimed:
        return None
    measurements = {name: entry.measurement for name, entry in found.entries.items() if entry.measurement}
    if found.source_measurement:
        measurements[schema.SOURCE_TARGET] = found.source_measurement
    return rank(rows, measurements, found.design, bound=found.bound)


def _control_record(found: Findings) -> schema.Control | None:
    """Return the record of the control, or of its problem; None if nothing was compared."""
    control = found.design.control
    if control is None:
        return schema.Control(problem=found.control_problem) if found.control_problem else None
    return schema.Control(control.name, control.ratio, control.ci95, control.launches, found.control_problem)


def _budget(entry: Entry, found: Findings) -> Mapping[str, float]:
    """Return an artifact's limits; if untimed, without those on time and memory, but with the bound."""
    budget = entry.plan.target.budget
    if not found.untimed:
        return budget
    bound = found.bound or Bound()
    stated = {"min_top1_agreement": bound.min_agreement, "min_sqnr_db": bound.min_sqnr_db}
    return {
        **{name: limit for name, limit in budget.items() if name not in TIMED},
        **{name: limit for name, limit in stated.items() if limit is not None},
    }


def exit_code(run: schema.Run, named: Container[str]) -> ExitCode:
    """Return the highest exit code among the rows and the ranking of a run.

    Args:
        run: The run.
        named: The targets requested by name. An unavailable target that came with `all` does not count as a failure.
    """
    codes = [
        KINDS[row.error.kind].exit_code
        for row in run.results
        if row.error is not None and (row.status != "unavailable" or row.target in named)
    ]
    if any(line.met is not True for row in run.results if row.status == "ok" for line in row.budget):
        codes.append(ExitCode.BUDGET_NOT_MET)
    if run.ranking is not None and run.ranking.best is None:
        codes.append(ExitCode.BUDGET_NOT_MET)
    return max(codes, default=ExitCode.OK)


def model_record(choice: SourceChoice, opened: OpenedModel, shipped: ShippedModel) -> schema.ModelRecord:
    """Return the record of the source model."""
    return schema.ModelRecord(
        name=opened.name,
        format=opened.format,
        sha256=shipped.sha256,
        size_bytes=shipped.size_bytes,
        inputs=_tensors(opened.inputs),
        outputs=_tensors(opened.outputs),
        path=choice.path,
        chosen_by=choice.chosen_by,
        warnings=opened.warnings,
    )


def data_record(feeds: FeedSet) -> schema.DataRecord:
    """Return the record of both sets of feeds."""
    return schema.DataRecord(
        schema.CalibrationRecord(feeds.source, feeds.calibration_count * feeds.batch, feeds.sha256, feeds.seed),
        schema.EvaluationRecord(feeds.source, feeds.evaluation_count * feeds.batch, feeds.labelled),
    )


def _tensors(specs: tuple[TensorSpec, ...]) -> tuple[schema.Tensor, ...]:
    return tuple(schema.Tensor(spec.name, spec.shape, spec.dtype) for spec in specs)


def _source_result(found: Findings) -> schema.Result:
    """Return the row of the source model, the baseline of all comparisons."""
    measurement = found.source_measurement
    return schema.Result(
        target=schema.SOURCE_TARGET,
        backend="",
        plugin="",
        status="ok" if found.source_error is None else "failed",
        error=error_record(found.source_error),
        artifact=found.source and replace(found.source, metadata=dict(measurement.facts) if measurement else {}),
        latency=latency_record(measurement),
        memory=memory_record(measurement),
        warnings=tuple(found.source_doubts),
        untimed=found.source_untimed,
    )
