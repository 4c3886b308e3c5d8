"""The contract between edgeopt and a backend: the class to write, its input and its result.

A backend turns a source model into an artifact. It never measures: the host does that on the device, through the
backend's runner file. A plugin imports these names from `edgeopt.api`.

The runner is one self-contained Python file with one function, `load(path, threads)`. It returns an object with

* `feed(inputs)`: takes a mapping from input name to array and prepares it (conversion, quantization, copies); not
  timed;
* `invoke()`: runs the model once and returns when the result is ready; timed;
* `outputs()`: a mapping from output name to array, with the names, shapes and dtypes of the source model; not timed.

It may also have `untimed`, the reason why its time would be meaningless (`"no GPU on this device"`) or None, and
`facts()`, a flat mapping of detected facts (the name of the accelerator, `accelerator_peak_bytes`).

Besides `load`, the file may have `operators(path, threads, feed, seconds)`, for `export --ops`. It runs the artifact on
one feed for about `seconds`, in a process that has not loaded anything else. It returns a list of mappings with `name`
(the operator type: `CONV_2D`), `kernel` (the implementation that ran it), `count` (the number of operators) and
`time_s` (their total time per inference). If the runtime cannot report this, it raises a `RuntimeError` that says why.

A runner imports the standard library, NumPy and its runtime, and never edgeopt: it is pushed to the device alone.

A device without Python, such as a phone, cannot run a runner. For such a device, a backend may time an artifact with a
benchmark program that the user names: see `Backend.native_job`.
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
    """A NumPy array."""
    Feed: TypeAlias = Mapping[str, Array]
    """One input to the model: input name to array, including the batch dimension."""

Scalar: TypeAlias = str | int | float | bool
"""The type of a fact in an artifact's metadata."""

CONTRACT_VERSION = 2
"""The version of this contract. A plugin's module declares `EDGEOPT_CONTRACT = 2`; see `docs/contract-history.md`."""
OLDEST_CONTRACT = 1
"""The oldest version that is still supported."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of one input or output; every dimension is known, and the first is the batch."""

    name: str
    """The key in feeds and outputs."""
    shape: tuple[int, ...]
    """Includes the batch."""
    dtype: str
    """NumPy's name for it: `float32`."""


class SourceModel(Protocol):
    """The user's trained model, as the host passes it to a backend; everything is made at most once per run."""

    name: str
    """Short name, safe as a folder name."""
    format: str
    """`keras` (a `.keras` file), `h5` or `saved_model` (a folder)."""
    path: Path
    """The file or folder that the user would ship without edgeopt. Read it, but never write to it."""
    inputs: tuple[TensorSpec, ...]
    """Inputs after normalisation, ordered by name."""
    outputs: tuple[TensorSpec, ...]
    """Outputs after normalisation, ordered by name."""
    signature: str | None
    """The requested signature of a SavedModel that has several."""
    custom_modules: tuple[str, ...]
    """Modules that register custom Keras objects; imported before `export` is called."""
    trusted: bool
    """Whether the user trusts the file enough to run code stored in it (`Lambda` layers)."""

    def saved_model(self) -> Path:
        """Return the normalised SavedModel: inference only, fixed batch, named inputs and outputs, float32.

        Its only signature is `serving_default`. Every weight is stored once.
        """
        ...

    def keras(self) -> Any:
        """Return the Keras model, not compiled.

        Raises:
            ExportError: The source is not a Keras model, or only Keras 2 can load it.
        """
        ...

    def infer(self, feed: Feed) -> dict[str, Array]:
        """Return the normalised model's outputs for `feed`: output name to array."""
        ...

    def once(self, key: str, build: Callable[[Path], None]) -> Path:
        """Return a folder that `build` fills once per run, shared by all targets and workers.

        Args:
            key: Name of the folder's contents, for instance `tflite-float32`; letters, digits and hyphens.
            build: Receives an empty folder and writes into it. If it raises, nothing is kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a backend without options."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The input of `Backend.export`."""

    source: SourceModel
    """The model to export."""
    out_dir: Path
    """An empty folder; the only place to write to."""
    options: Any
    """An instance of the backend's `Options`."""
    calibration: Iterable[Feed]
    """Feeds for calibration; can be iterated more than once. Never includes evaluation feeds."""
    log: Callable[[str], None]
    """Reports progress in a few words; shown to the user while the export runs."""
    cpu_features: tuple[str, ...] = ()
    """The 8-bit dot-product instructions (`vnni`, `dotprod`, `i8mm`) of the device that the user named for this run;
    empty if the user named none. Without a named device, the artifact may be shipped to any processor."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The result of `Backend.export`."""

    main: Path
    """The file or folder inside `out_dir` that the runner opens."""
    files: tuple[Path, ...]
    """Every file of the artifact, inside `out_dir`."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    """Flat facts for the manifest and for tables: text, numbers, booleans."""
    warnings: tuple[str, ...] = ()
    """Sentences that the user must see beside the row, for instance `2 of 31 operators stay float32`."""
    calibration_feeds: int = 0
    """Number of calibration feeds that determined values in the artifact; 0 if they only served to check it."""
    needs: tuple[str, ...] = ()
    """Processor features without which the artifact gives wrong results: `vnni` (x86), `dotprod` or `i8mm` (Arm).
    Processors of other architectures are not affected. A device that lacks one is refused."""
    fallback: str = ""
    """The setting that makes an artifact without these needs, in `--set` syntax: `reduce_range=true`."""


@dataclass(frozen=True, slots=True)
class NativeTimes:
    """Times that a benchmark program printed for one artifact; None if it does not report a value."""

    count: int
    """Number of timed inferences, excluding warm-up."""
    mean_s: float
    """Per inference, in seconds, like all times here."""
    median_s: float | None = None
    """The median of all times."""
    min_s: float | None = None
    """The shortest of all times."""
    std_s: float | None = None
    """The standard deviation of the times."""
    load_s: float | None = None
    """Time from the file to the first inference."""
    first_s: float | None = None
    """The very first inference, a warm-up."""
    model_bytes: int | None = None
    """Memory that loading and running the model added to the process."""


class Backend(ABC):
    """One way to make an artifact from a source model; a plugin's hook returns subclasses.

    The host creates one instance per export, without arguments, in a child process.
    """

    name: ClassVar[str]
    """Unique; lower case with hyphens."""
    summary: ClassVar[str]
    """One line for tables."""
    runner: ClassVar[Path]
    """The runner file; its required contents are described at the top."""
    Options: ClassVar[type[Any]] = NoOptions
    """A frozen dataclass of bool, int, float, str and Literal; fields have defaults and `metadata={"help": ...}`."""
    preferred_devices: ClassVar[tuple[str, ...]] = ()
    """Features that the device should have, for instance `gpu`."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Distributions that must be installed on the device, in pip syntax: `ai-edge-litert>=2.3`."""
    environment: ClassVar[tuple[str, ...]] = ()
    """Distributions that cannot be installed with edgeopt's own, in pip syntax. Export and runner then use an
    environment with these alone, created by `edgeopt plugins prepare NAME`. There, `SourceModel.keras` is unavailable,
    but `saved_model` and `infer` work."""

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this backend cannot work here, or None; must be cheap, without heavy imports."""
        return None

    @classmethod
    def native_job(cls, program: str, main: str, threads: int, seconds: float) -> tuple[str, ...] | None:  # noqa: ARG003
        """Return the command that times an artifact with a benchmark program, or None if it is not supported.

        It runs on a device without Python, once per artifact, and only with `--native-program`.

        Args:
            program: The program that the user named, as a path on the device.
            main: The file or folder that the runner would open, as a path on the device.
            threads: Number of threads that the runtime may use.
            seconds: Approximate timing duration, excluding loading and warm-up.
        """
        return None

    @classmethod
    def read_native(cls, output: str) -> NativeTimes:  # noqa: ARG003
        """Return the times in the standard output and error of a successful `native_job` command.

        Raises:
            ValueError: The output does not contain times.
        """
        raise ValueError(f"the backend {cls.name} reads no program's output")

    @abstractmethod
    def export(self, request: ExportRequest) -> Artifact:
        """Write the artifact under `request.out_dir` and return an `Artifact` that lists its files.

        Raises:
            ExportError: This model cannot be exported; includes a hint.
        """
