"""The contract between edgeopt and a backend: one class to write, and what it is given and gives back.

A backend turns a source model into an artifact. It never measures: that is the host's work, on the device, through the
backend's runner file. A plugin imports these names from `edgeopt.api`.

The runner is one self-contained Python file with one function, `load(path, threads)`. It returns an object with

* `feed(inputs)`: takes a mapping from input name to array and prepares it (conversion, quantization, copies); not
  timed;
* `invoke()`: runs the model once and returns when the result is ready; timed;
* `outputs()`: a mapping from output name to array, with the names, shapes and dtypes of the source model; not timed.

It may also have `untimed`, a reason why its time would mean nothing (`"no GPU on this device"`) or None, and `facts()`,
a flat mapping of what it found (the name of the accelerator, `accelerator_peak_bytes`).

Beside `load`, the file may have `operators(path, threads, feed, seconds)`, for `export --ops`: it runs the artifact on
one feed for about so long, in a process in which nothing else was loaded, and returns a list of mappings with `name`
(the type of the operator: `CONV_2D`), `kernel` (who ran it), `count` (how many of them) and `time_s` (what they take
together, per inference). Where the runtime cannot tell, it raises a `RuntimeError` with a sentence that says why.

A runner imports the standard library, NumPy and the runtime that it needs, and never edgeopt: it is pushed to the
device alone.

A device without Python, as phones are, can run no runner. There a backend may time an artifact with a benchmark program
that the user names: see `Backend.native_job`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping  # noqa: TC003 - a plugin may evaluate the contract's annotations
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.generic[Any]]
    """An array of NumPy."""
    Feed: TypeAlias = Mapping[str, Array]
    """One input to the model: input name to array, the batch dimension included."""

Scalar: TypeAlias = str | int | float | bool
"""What a fact in an artifact's metadata may be."""

CONTRACT_VERSION = 2
"""The number of this contract. A plugin's module says `EDGEOPT_CONTRACT = 2`; see `docs/contract-history.md`."""
OLDEST_CONTRACT = 1
"""The oldest contract that is still kept."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of one input or output; every dimension is known and the first is the batch."""

    name: str
    """As feeds and answers are keyed."""
    shape: tuple[int, ...]
    """The batch included."""
    dtype: str
    """As NumPy spells it: `float32`."""


class SourceModel(Protocol):
    """The model that the user trained, as the host hands it to a backend; everything is made at most once per run."""

    name: str
    """Short name, safe as a folder name."""
    format: str
    """`keras` (a `.keras` file), `h5` or `saved_model` (a folder)."""
    path: Path
    """The file or folder that the user would ship without edgeopt; read it, never write to it."""
    inputs: tuple[TensorSpec, ...]
    """Inputs after normalising, ordered by name."""
    outputs: tuple[TensorSpec, ...]
    """Outputs after normalising, ordered by name."""
    signature: str | None
    """The signature that was asked for, of a SavedModel that has several."""
    custom_modules: tuple[str, ...]
    """Modules that register custom Keras objects; already imported when `export` is called."""
    trusted: bool
    """Whether the user trusts the file enough to run code that is stored in it (`Lambda` layers)."""

    def saved_model(self) -> Path:
        """Return the normalised SavedModel: inference only, fixed batch, named inputs and outputs, float32.

        Its one signature is `serving_default`. Every weight is stored once.
        """
        ...

    def keras(self) -> Any:
        """Return the Keras model, not compiled.

        Raises:
            ExportError: The source is no Keras model, or only Keras 2 can load it.
        """
        ...

    def infer(self, feed: Feed) -> dict[str, Array]:
        """Return what the normalised model answers to `feed`: output name to array."""
        ...

    def once(self, key: str, build: Callable[[Path], None]) -> Path:
        """Return a folder that `build` filled, built once per run and shared by all targets and workers.

        Args:
            key: Names what is in the folder, for instance `tflite-float32`; letters, digits and hyphens.
            build: Is given an empty folder and writes into it. When it raises, nothing is kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a backend that has none."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What `Backend.export` is given."""

    source: SourceModel
    """The model to export."""
    out_dir: Path
    """An empty folder; the only place to write to."""
    options: Any
    """An instance of the backend's `Options`."""
    calibration: Iterable[Feed]
    """Feeds to calibrate on; can be walked more than once. Evaluation feeds are never given."""
    log: Callable[[str], None]
    """Says in a few words what is going on; shown to the user while the export runs."""
    cpu_features: tuple[str, ...] = ()
    """The 8-bit dot products (`vnni`, `dotprod`, `i8mm`) of the device that the user named for this run; empty if the
    user named none. Without a named device the artifact may be shipped to any processor."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What `Backend.export` gives back."""

    main: Path
    """What the runner opens: a file or a folder inside `out_dir`."""
    files: tuple[Path, ...]
    """Every file of the artifact, inside `out_dir`."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    """Flat facts for the manifest and for tables: text, numbers, booleans."""
    warnings: tuple[str, ...] = ()
    """Sentences that the user must see beside the row, for instance `2 of 31 operators stay float32`."""
    calibration_feeds: int = 0
    """How many calibration feeds shaped the numbers inside; 0 where they only served to check the artifact."""
    needs: tuple[str, ...] = ()
    """Processor features without which the artifact gives wrong results: `vnni` (x86), `dotprod` or `i8mm` (Arm). A
    processor of another architecture is not concerned. A device that lacks one is refused."""
    fallback: str = ""
    """The setting that makes an artifact without these needs, as `--set` takes it: `reduce_range=true`."""


@dataclass(frozen=True, slots=True)
class NativeTimes:
    """What a benchmark program printed of one artifact; None where it does not tell."""

    count: int
    """How many inferences it timed, those to warm up not counted."""
    mean_s: float
    """Of one inference, in seconds, like all times here."""
    median_s: float | None = None
    """The middle one of all times."""
    min_s: float | None = None
    """The shortest of all times."""
    std_s: float | None = None
    """How far the times lie apart: the standard deviation."""
    load_s: float | None = None
    """From the file to the first inference."""
    first_s: float | None = None
    """The first inference of all, which warms up."""
    model_bytes: int | None = None
    """How much memory loading and running the model added to the process."""


class Backend(ABC):
    """One way to make an artifact from a source model; a plugin's hook returns such classes.

    The host makes one instance without arguments per export, in a child process.
    """

    name: ClassVar[str]
    """Unique; lower case with hyphens."""
    summary: ClassVar[str]
    """One line for tables."""
    runner: ClassVar[Path]
    """The runner file; what it must hold is told at the top."""
    Options: ClassVar[type[Any]] = NoOptions
    """A frozen dataclass of bool, int, float, str and Literal; fields have defaults and `metadata={"help": ...}`."""
    preferred_devices: ClassVar[tuple[str, ...]] = ()
    """What the device should have, for instance `gpu`."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Distributions that must be installed on the device, as for pip: `ai-edge-litert>=2.3`."""
    environment: ClassVar[tuple[str, ...]] = ()
    """Distributions that cannot live beside edgeopt's own, as for pip. Export and runner then work in an environment
    with these alone, which `edgeopt plugins prepare NAME` makes. There, `SourceModel.keras` is not to be had, but
    `saved_model` and `infer` are."""

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this backend cannot work here, or None; must be cheap and import nothing heavy."""
        return None

    @classmethod
    def native_job(cls, program: str, main: str, threads: int, seconds: float) -> tuple[str, ...] | None:  # noqa: ARG003
        """Return the command that times an artifact with a benchmark program, or None if this backend knows none.

        It runs on a device without Python, once for each artifact. Only `--native-program` asks for it.

        Args:
            program: The program that the user named, as a path on the device.
            main: What the runner would open, as a path on the device.
            threads: How many threads the runtime may use.
            seconds: About how long to time the artifact, without loading it and warming up.
        """
        return None

    @classmethod
    def read_native(cls, output: str) -> NativeTimes:  # noqa: ARG003
        """Return what the command of `native_job` has printed, as output and as errors, after it ended well.

        Raises:
            ValueError: No times are in it.
        """
        raise ValueError(f"the backend {cls.name} reads no program's output")

    @abstractmethod
    def export(self, request: ExportRequest) -> Artifact:
        """Write the artifact under `request.out_dir` and say which files it consists of.

        Raises:
            ExportError: This model cannot be exported; with a hint.
        """
