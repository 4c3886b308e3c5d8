"""What one run is asked to do, and how it tells what it is doing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgeopt.errors import UsageError

LEAST_MEMORY_BYTES = 64 << 20
"""Not even Python and NumPy run in less."""
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
"""By setting: how it is called on the command line, the least and the largest value."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Everything that a user can ask of one run; the defaults are those of the command line."""

    model: Any = None
    """A path, `keras:NAME`, a Keras model in memory, or None: what `edgeopt.toml` names, else the embedded demo."""
    targets: tuple[str, ...] = ()
    """Names of targets, also several in one text with commas; `all` stands for every target."""
    targets_dirs: tuple[Path, ...] = ()
    """Folders with target files, beside `targets/` in the current folder."""
    out: Path = Path("dist")
    data: Path | None = None
    """A `.npz` of feeds; None is seeded noise."""
    device: str | None = None
    """Where to run what was exported; None is what the targets name, else `local`."""
    native_program: Path | None = None
    """A benchmark program of the user's that times the artifacts on a device without Python."""
    settings: tuple[str, ...] = ()
    """Texts `key=value` or `target.key=value` for the options of the backends."""
    jobs: int | None = None
    """How many exports run at once; None is what cores and memory allow."""
    timeout_s: float = 900.0
    """How long one export, or one answer of a running artifact, may take."""
    memory_limit_bytes: int | None = None
    """How much memory one child process may use; None is nine tenths of what is free when the run begins."""
    timing: bool = True
    """Whether to time the artifacts; without it they are exported and compared with the model."""
    seconds: float = 2.0
    """How long each artifact is timed, at most; a clear comparison takes less, and a slow model `min_iterations`."""
    min_iterations: int = 100
    """How often each artifact is run, at least."""
    rank: bool = False
    """Whether to tell which artifact to ship; those that are near the best are then measured until that is clear."""
    min_agreement: float | None = None
    """For the ranking: the least share of feeds with the source's answer, from 0 to 1."""
    min_sqnr_db: float | None = None
    """For the ranking: the least signal-to-noise ratio."""
    ops: bool = False
    """Whether to ask, after the timing, how long each operator takes; see `Result.operators`."""
    sustained_s: float | None = None
    """How long each artifact runs on, alone, after all other timing; see `Result.sustained`. None is not at all."""
    threads: int = 1
    batch: int = 1
    input_shapes: tuple[str, ...] = ()
    """Texts `96,96,3` or `NAME=96,96,3`, without the batch."""
    input_ranges: tuple[str, ...] = ()
    """Texts `0,255` or `NAME=0,255`: what noise is drawn from."""
    signature: str | None = None
    weights: str | None = None
    custom_modules: tuple[str, ...] = ()
    trusted: bool = False
    """Whether code that is stored in the model file may run."""
    allow_degenerate: bool = False
    """Whether outputs that are constant, all zero or NaN are let through."""
    seed: int = 0
    resume: bool = False
    """Whether a profile that was ended is taken up where it ended."""
    command: tuple[str, ...] = ()
    """How the run was asked for, as it is written into the run."""

    def __post_init__(self) -> None:
        """Refuse numbers that nothing could be done with, before anything is done.

        Raises:
            UsageError: A number is not between its bounds, or no number; or two settings exclude each other.
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
    """Is told what is going on; `key` is a target or another part of the run. May be called from several threads."""

    def stage(self, key: str, text: str) -> None:
        """`key` is now busy with `text`."""
        ...

    def done(self, key: str, text: str) -> None:
        """`key` has ended, with `text` as the outcome."""
        ...

    def say(self, text: str) -> None:
        """Tell something that belongs to the whole run."""
        ...


class Silence:
    """Progress that nobody watches."""

    def stage(self, key: str, text: str) -> None:
        """Say nothing."""

    def done(self, key: str, text: str) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""
