"""The run: all findings of one command, as one JSON document (`schema: 1`).

The classes mirror the document: each field is a key, in the same order. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping  # noqa: TC003 - annotations are evaluated when a document is read
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeAlias

from edgeopt.report.document import to_json

Status: TypeAlias = Literal["ok", "failed", "unavailable"]
Verdict: TypeAlias = Literal["faster", "slower", "same", "unclear"]
"""`same` claims a difference below 1 % in either direction; `unclear` means that the measurement is inconclusive."""
SOURCE_TARGET = "source"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The source model."""

    name: str
    format: str
    sha256: str
    size_bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    path: str = ""
    chosen_by: str = ""
    """Its origin: `the command line`, a project file, `the embedded demo`, or `the program` for a model in memory."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """The samples that backends used for calibration; `source` is a path, `demo` or `noise`."""

    source: str
    count: int
    sha256: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """The samples used to measure fidelity; never passed to a backend."""

    source: str
    count: int
    labelled: bool


@dataclass(frozen=True, slots=True)
class DataRecord:
    """Both sets of feeds, which never overlap."""

    calibration: CalibrationRecord
    evaluation: EvaluationRecord


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """The device that ran the artifacts, and whether it was quiet."""

    uri: str
    machine: str
    os: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    runtimes: Mapping[str, str] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further facts that the device reports, as a flat mapping; see `facts.Facts`."""


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """Why a target failed or is unavailable."""

    kind: str
    message: str
    hint: str
    log: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of an artifact."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """Files written by a backend; `path` is their folder, `size_bytes` the size that a user would ship."""

    path: str
    size_bytes: int
    gzip_bytes: int
    files: tuple[FileRecord, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    calibration_feeds: int = 0
    """Number of calibration feeds that determined values in the artifact."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Duration of one inference; a percentile is None if there are too few samples for it."""

    median_s: float
    ci95_s: tuple[float, float] | None
    """None after a single launch."""
    mean_s: float
    min_s: float
    p90_s: float | None
    p99_s: float | None
    iterations: int
    rounds: int
    load_s: float
    first_s: float
    threads: int
    samples_s: tuple[float, ...]
    steady: bool
    launches: int = 1
    """Number of processes of this artifact that were measured, one after another."""


@dataclass(frozen=True, slots=True)
class Native:
    """Times reported by a benchmark program on a device without Python; None if it does not report a value.

    They are not a `Latency`: the artifacts ran one after another, each on the program's own inputs, so nothing is
    compared with them.
    """

    program: str
    """The program's file name, as given by the user."""
    threads: int
    count: int
    mean_s: float
    median_s: float | None
    min_s: float | None
    std_s: float | None
    load_s: float | None
    first_s: float | None
    model_bytes: int | None

    @property
    def typical_s(self) -> float:
        """The median, or the mean if the program did not report a median."""
        return self.mean_s if self.median_s is None else self.median_s


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the process that ran the artifact: its peak, and the increase from loading and running the model."""

    peak_bytes: int
    model_bytes: int


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How close the outputs are to those of the source model, over all evaluation feeds."""

    feeds: int
    """Number of samples compared."""
    top1_agreement: float | None
    sqnr_db: float | None
    cosine: float | None
    max_abs: float | None
    """None if an output is not finite but the source's is, since JSON cannot represent infinity."""
    accuracy: float | None
    source_accuracy: float | None

    @property
    def is_exact(self) -> bool:
        """Whether every output number equals the source model's."""
        return self.max_abs == 0 and self.sqnr_db is None


@dataclass(frozen=True, slots=True)
class Comparison:
    """This artifact compared with the source model; `speedup` above 1 means faster."""

    size_ratio: float | None
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    verdict: Verdict | None
    within: float | None = None
    """Largest relative difference in speed that the measurement leaves open: 0.024 is 2.4 % in either direction."""
    seconds_needed: float | None = None
    """Value of `--seconds` that would probably decide an `unclear` verdict; None if that is too long."""
    takes_s: float | None = None
    """Approximate total measuring time with that value; None if unknown."""


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One limit of the target; `met` is None if the value was not measured."""

    name: str
    limit: float
    value: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Operator:
    """All operators of one type that one kernel ran, with their time per inference as reported by the runtime."""

    name: str
    """The operator type as in the file, otherwise as the kernels name it: `CONV_2D`."""
    kernel: str
    """The implementation that ran it: `XNNPACK`, `built-in`, or another name reported by the runner."""
    count: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Sustained:
    """Duration of one inference while an artifact runs continuously, alone on the device; cold is the first part.

    The artifacts ran one after another, and edgeopt let the device cool between them.
    """

    seconds: float
    """Planned duration."""
    part_s: float
    """Length of a part: a minute, or less if the total is short. The last part also includes the remainder."""
    medians_s: tuple[float | None, ...]
    """Per part; None after the artifact stopped running."""
    ci95_s: tuple[tuple[float, float] | None, ...]
    iterations: tuple[int, ...]
    slowdown: float | None
    """Ratio of the last part to the first; above 1 means slower. None if the artifact did not run to the end."""
    verdict: Verdict | None
    """The last part compared with the first."""
    fastest_cold: bool
    """Whether it is the fastest in the first part, or indistinguishable from the fastest."""
    fastest_hot: bool
    """The same for the last part."""
    health: Mapping[str, Any] = field(default_factory=dict)
    """Device health just before and just after, if it was measured; see `DeviceRecord.health`."""


@dataclass(frozen=True, slots=True)
class Result:
    """One row: the outcome for one target."""

    target: str
    backend: str
    plugin: str
    status: Status
    error: ErrorRecord | None = None
    artifact: ArtifactRecord | None = None
    export_s: float | None = None
    latency: Latency | None = None
    memory: Memory | None = None
    fidelity: Fidelity | None = None
    versus_source: Comparison | None = None
    budget: tuple[BudgetLine, ...] = ()
    warnings: tuple[str, ...] = ()
    untimed: str = ""
    """Why an `ok` row lacks a latency, for instance `no GPU on this device`."""
    operators: tuple[Operator, ...] = ()
    """Time by operator type, slowest first; measured separately from the latency, and only on request."""
    operators_problem: str = ""
    """Why they are missing although requested."""
    native: Native | None = None
    """Replaces the latency if the device lacks Python and the user named a benchmark program."""
    sustained: Sustained | None = None
    """How the latency changes over minutes of continuous running; only on request."""
    sustained_problem: str = ""
    """Why it is missing or incomplete although requested."""

    @property
    def is_over_budget(self) -> bool:
        """Whether a limit of its target is not met."""
        return any(line.met is False for line in self.budget)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One target in a ranking; `speedup` is relative to the best one."""

    target: str
    place: int | None
    """1 is the best; None if it cannot be shipped, was not measured, or the best is unknown."""
    reason: str
    """Why it is not the best; empty for the best."""
    speedup: float | None = None
    speedup_ci95: tuple[float, float] | None = None
    verdict: Verdict | None = None
    """Compared with the best one."""
    within: float | None = None
    seconds_needed: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The targets of a run by preference for shipping, under a bound on their fidelity."""

    min_top1_agreement: float | None
    min_sqnr_db: float | None
    best: str | None
    """None if no measured artifact meets the bound, or the fastest of them is unknown."""
    order: tuple[Ranked, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """A second copy of one artifact, measured side by side with the first; without noise, `ratio` is 1."""

    target: str = ""
    ratio: float | None = None
    ci95: tuple[float, float] | None = None
    """None after a single launch."""
    launches: int = 0
    problem: str = ""
    """Why it is missing or ended early."""


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """All findings of one command; the first result is the source model itself."""

    edgeopt: str
    started: str
    command: tuple[str, ...]
    model: ModelRecord
    data: DataRecord
    device: DeviceRecord
    results: tuple[Result, ...]
    schema: int = 1
    folder: str = ""
    """Folder of the artifacts, the logs and `run.json`."""
    notes: tuple[str, ...] = ()
    """Conclusions from several measurements, in sentences."""
    ranking: Ranking | None = None
    """Which artifact to ship; only on request."""
    control: Control | None = None
    """Difference between two copies of one artifact here; it widens the intervals of all speed-ups."""
    untimed: str = ""
    """Why nothing was timed; empty if artifacts were timed."""

    def to_json(self, *, indent: int | None = 1) -> str:
        """Return the document as strict JSON: no NaN, no Infinity."""
        return to_json(self.to_dict(), indent=indent)

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        return {"schema": self.schema, **{k: v for k, v in asdict(self).items() if k != "schema"}}

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read a document; unknown keys are ignored, so that documents of newer minor versions stay readable.

        Raises:
            ValueError: The text is not a run, or its schema is not 1.
        """
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("schema") != 1:
            raise ValueError("not an edgeopt run of schema 1")
        run: Run = _build(cls, document)
        return run

    @property
    def source(self) -> Result:
        """The row of the source model."""
        return self.results[0]

    def table(self, width: int | None = None) -> str:
        """Return the run as text: the table, the answer in a sentence, and notes.

        Args:
            width: Columns to fill; by default those of the terminal, or 80 without a terminal.
        """
        from edgeopt.report.table import as_text

        return as_text(self, width)

    def _repr_html_(self) -> str:
        """Return the run as HTML for a notebook."""
        from edgeopt.report.notebook import as_html

        return as_html(self)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        # The generated repr would print every sample of every artifact.
        return f"<Run of {self.model.name!r}: {', '.join(f'{r.target} {r.status}' for r in self.results)}>"


def _build(kind: Any, value: Any) -> Any:
    """Return `value`, decoded from JSON, as an instance of the annotated `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _build(next(a for a in arguments if a is not type(None)), value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {f.name for f in fields(kind)}
        return kind(**{key: _build(hints[key], item) for key, item in value.items() if key in known})
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in value)
    return value
