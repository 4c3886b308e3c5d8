"""The settings of a run, and its progress messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgeopt.errors import UsageError

LEAST_MEMORY_BYTES = 64 << 20
"""Python and NumPy alone do not run in less."""
NUMBERS: dict[str, tuple[str, float, float]] = {
    "jobs": ("--jobs", 1, 1024),
    "timeout_s": ("--timeout", 0.001, 10**7),
    "memory_limit_bytes": ("--memory-limit", LEAST_MEMORY_BYTES, 1 << 60),
    "seconds": ("--seconds", 0, 10**6),
    "min_iterations": ("--min-iterations", 1, 10**7),
    "min_agreement": ("--min-agreement", 0, 1),
    "min_sqnr_db": ("--min-sqnr", -1000, 1000),
    "threads": ("--threads", 1, 1024),
    "sustained_s": ("--sustained, in seconds,", 3, 86_400),
    "batch": ("--batch", 1, 10**6),
    "seed": ("--seed", 0, (1 << 63) - 1),
}
"""By setting: its command-line option, its minimum and its maximum."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """All settings of one run; the defaults are those of the command line."""

    model: Any = None
    """A path, `keras:NAME`, a Keras model in memory, or None: the model in `edgeopt.toml`, else the embedded demo."""
    targets: tuple[str, ...] = ()
    """Names of targets, each also a comma-separated list; `all` selects every target."""
    targets_dirs: tuple[Path, ...] = ()
    """Folders with target files, in addition to `targets/` in the current folder."""
    out: Path = Path("dist")
    data: Path | None = None
    """A `.npz` of feeds; None is the project's or the demo's data for its own model, else seeded noise."""
    device: str | None = None
    """The device that runs the artifacts; None is the one named by the targets, else `local`."""
    native_program: Path | None = None
    """The user's benchmark program, which times the artifacts on a device without Python."""
    settings: tuple[str, ...] = ()
    """Options of backends, as `key=value` or `target.key=value`."""
    jobs: int | None = None
    """Number of exports at once; None is as many as cores and memory allow."""
    timeout_s: float = 900.0
    """Time limit for one export, or for one answer of a running artifact."""
    memory_limit_bytes: int | None = None
    """Memory limit of one child process; None is nine tenths of the free memory."""
    timing: bool = True
    """Whether to time the artifacts; if not, they are only exported and compared with the model."""
    seconds: float = 2.0
    """Maximum timing of each artifact; less if a comparison is clear, more if a slow model needs `min_iterations`."""
    min_iterations: int = 100
    """Minimum number of timed inferences per artifact."""
    rank: bool = False
    """Whether to recommend an artifact to ship; those near the best are then measured until their order is clear."""
    min_agreement: float | None = None
    """For the ranking: minimum share of samples on which an artifact must agree with the source, from 0 to 1."""
    min_sqnr_db: float | None = None
    """For the ranking: minimum signal-to-noise ratio of the outputs."""
    ops: bool = False
    """Whether to measure the time of each operator after the timing; see `Result.operators`."""
    sustained_s: float | None = None
    """Duration for which each artifact runs alone after all other timing, or None; see `Result.sustained`."""
    threads: int = 1
    batch: int = 1
    input_shapes: tuple[str, ...] = ()
    """Shapes without the batch, as `96,96,3` or `NAME=96,96,3`."""
    input_ranges: tuple[str, ...] = ()
    """Ranges of noise, as `0,255` or `NAME=0,255`."""
    signature: str | None = None
    weights: str | None = None
    custom_modules: tuple[str, ...] = ()
    trusted: bool = False
    """Whether code stored in the model file may run."""
    allow_degenerate: bool = False
    """Whether to accept outputs that are constant, all zero or not finite."""
    seed: int = 0
    resume: bool = False
    """Whether to resume an interrupted profile."""
    command: tuple[str, ...] = ()
    """The command that started the run, for the document."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers before the run starts.

        Raises:
            UsageError: A value is not a number or is out of bounds, or two settings exclude each other.
        """
        if self.rank and not self.timing and self.min_agreement is None and self.min_sqnr_db is None:
            raise UsageError("a ranking needs times", hint="leave out --rank or --no-timing")
        for name, (option, least, most) in NUMBERS.items():
            value = getattr(self, name)
            if value is None and type(self).__dataclass_fields__[name].default is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise UsageError(f"{option} is {value}; wanted a number from {least:,} to {most:,}")


class Progress(Protocol):
    """Receives messages, possibly from several threads; `key` is a target or another part of the run."""

    def stage(self, key: str, text: str) -> None:
        """Report `text` as the current step of `key`."""
        ...

    def done(self, key: str, text: str) -> None:
        """Report the end of `key`, with `text` as its outcome."""
        ...

    def say(self, text: str) -> None:
        """Report a message about the whole run."""
        ...


class Silence:
    """Progress that discards all messages."""

    def stage(self, key: str, text: str) -> None:
        """Say nothing."""

    def done(self, key: str, text: str) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""
