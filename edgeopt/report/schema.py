"""The run: everything that one command found out, as one JSON document (`schema: 1`).

The classes mirror the document: a field here is a key there, in the same order. Times are in seconds, sizes in bytes.
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
"""`same` claims a difference below 1 % either way; `unclear` is what the measurement did not decide."""
SOURCE_TARGET = "source"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or an output of the model."""

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
    """Who named it: `the command line`, a project file, `the embedded demo`, or `the program` for one in memory."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """The samples that backends calibrated on; `source` is a path, `demo` or `noise`."""

    source: str
    count: int
    sha256: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """The samples that fidelity was measured on; never shown to a backend."""

    source: str
    count: int
    labelled: bool


@dataclass(frozen=True, slots=True)
class DataRecord:
    """Both sets of feeds; they never overlap."""

    calibration: CalibrationRecord
    evaluation: EvaluationRecord


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """Where the artifacts ran, and whether it was quiet."""

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
    """What else the device tells of itself, flat; see `facts.Facts`."""


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """Why a target failed."""

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
    """What a backend wrote; `path` is the folder, `size_bytes` what a user would ship."""

    path: str
    size_bytes: int
    gzip_bytes: int
    files: tuple[FileRecord, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    calibration_feeds: int = 0
    """How many calibration feeds shaped the numbers inside."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one inference takes; a percentile is None where there are too few samples for it."""

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
    """How many processes of this artifact were measured, one after another."""


@dataclass(frozen=True, slots=True)
class Native:
    """What a benchmark program said of an artifact on a device without Python; None where it does not tell.

    It is no `Latency`: the artifacts were run one after another, each on inputs of the program's own, so nothing is
    compared with them.
    """

    program: str
    """The program's file name, as the user named it."""
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
        """The median, the mean where it is not told."""
        return self.mean_s if self.median_s is None else self.median_s


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the process that ran the artifact: its peak, and what loading and running the model added."""

    peak_bytes: int
    model_bytes: int


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near the outputs are to those of the source model, over all evaluation feeds."""

    feeds: int
    """How many samples were compared."""
    top1_agreement: float | None
    sqnr_db: float | None
    cosine: float | None
    max_abs: float | None
    """None, as JSON has no infinity, where an output is not finite and the source's is."""
    accuracy: float | None
    source_accuracy: float | None

    @property
    def is_exact(self) -> bool:
        """Whether every output is the same, bit for bit, as the source model's."""
        return self.max_abs == 0 and self.sqnr_db is None


@dataclass(frozen=True, slots=True)
class Comparison:
    """This artifact beside the source model; `speedup` above 1 means faster."""

    size_ratio: float | None
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    verdict: Verdict | None
    within: float | None = None
    """The largest relative difference in speed that the measurement leaves open: 0.024 is 2.4 % either way."""
    seconds_needed: float | None = None
    """The `--seconds` that would probably decide an `unclear` verdict; None if that is too long."""
    takes_s: float | None = None
    """How long measuring then takes in all, about; None if it is not known."""


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One limit of the target; `met` is None where the value was not measured."""

    name: str
    limit: float
    value: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Operator:
    """All operators of one type that one kernel ran, and what they take per inference, as the runtime itself says."""

    name: str
    """As the file has it, else as the kernels call it: `CONV_2D`."""
    kernel: str
    """Who ran it: `XNNPACK`, `built-in`, or what else the runner says."""
    count: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Sustained:
    """What one inference takes while an artifact runs on and on, alone on the device; cold is the first part.

    All artifacts began from the same state of the device, one after another.
    """

    seconds: float
    """How long it was to run."""
    part_s: float
    """How long a part is: a minute, or less where the whole is short. The last one has the rest too."""
    medians_s: tuple[float | None, ...]
    """By part; None from where the artifact did not run any more."""
    ci95_s: tuple[tuple[float, float] | None, ...]
    iterations: tuple[int, ...]
    slowdown: float | None
    """The last part over the first; above 1 it has become slower. None where it did not come to its end."""
    verdict: Verdict | None
    """The last part beside the first."""
    fastest_cold: bool
    """Whether it is the fastest in the first part, or cannot be told from the fastest."""
    fastest_hot: bool
    """The same for the last part."""
    health: Mapping[str, Any] = field(default_factory=dict)
    """Of the device, just before and just after; see `DeviceRecord.health`."""


@dataclass(frozen=True, slots=True)
class Result:
    """One row: what became of one target."""

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
    """Why a row that is `ok` has no latency, for instance `no GPU on this device`."""
    operators: tuple[Operator, ...] = ()
    """Where the time goes, the slowest first; measured apart from the latency, and only where it was asked for."""
    operators_problem: str = ""
    """Why there are none though they were asked for."""
    native: Native | None = None
    """Instead of a latency, where the device has no Python and the user named a benchmark program."""
    sustained: Sustained | None = None
    """What becomes of the latency when it runs for minutes; only where that was asked for."""
    sustained_problem: str = ""
    """Why there is none, or only a part of it, though it was asked for."""

    @property
    def is_over_budget(self) -> bool:
        """Whether a limit of its target is not met."""
        return any(line.met is False for line in self.budget)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One target in a ranking; `speedup` is over the best one, so below 1."""

    target: str
    place: int | None
    """1 is the best; None where it cannot be shipped, was not measured, or which is the best is not known."""
    reason: str
    """Why it is not the best; empty for the best."""
    speedup: float | None = None
    speedup_ci95: tuple[float, float] | None = None
    verdict: Verdict | None = None
    """Beside the best one."""
    within: float | None = None
    seconds_needed: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The targets of a run in the order in which one would ship them, under a bound on their fidelity."""

    min_top1_agreement: float | None
    min_sqnr_db: float | None
    best: str | None
    """None where no artifact is true enough and measured, or which of them is the fastest is not known."""
    order: tuple[Ranked, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """A second copy of one artifact, measured side by side with the first; without noise `ratio` is 1."""

    target: str = ""
    ratio: float | None = None
    ci95: tuple[float, float] | None = None
    """None after a single launch."""
    launches: int = 0
    problem: str = ""
    """Why there is none, or it ended early."""


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """Everything that one command found out; the first result is the source model itself."""

    edgeopt: str
    started: str
    command: tuple[str, ...]
    model: ModelRecord
    data: DataRecord
    device: DeviceRecord
    results: tuple[Result, ...]
    schema: int = 1
    folder: str = ""
    """Where the artifacts, the logs and `run.json` are."""
    notes: tuple[str, ...] = ()
    """What several measurements together show, in sentences."""
    ranking: Ranking | None = None
    """Which artifact to ship, where that was asked for."""
    control: Control | None = None
    """What two copies of one artifact differ by here; it widens the intervals of all speed-ups."""
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
        """Read a document back; unknown keys are ignored, so that a newer minor version can still be read.

        Raises:
            ValueError: The text is no run, or its schema is not 1.
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
        """Return the run as text: the table, the answer in a sentence, and what to know about it.

        Args:
            width: Columns to fill; by default those of the terminal, or 80 where there is none.
        """
        from edgeopt.report.table import as_text

        return as_text(self, width)

    def _repr_html_(self) -> str:
        """Return the run as a notebook shows it."""
        from edgeopt.report.notebook import as_html

        return as_html(self)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        # The generated one would print every sample of every artifact.
        return f"<Run of {self.model.name!r}: {', '.join(f'{r.target} {r.status}' for r in self.results)}>"


def _build(kind: Any, value: Any) -> Any:
    """Return `value`, as it came from JSON, as an instance of the annotated `kind`."""
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
