"""The folder of one run: what stays (artifacts, logs, `run.json`) and what goes when the run ends."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.errors import BadInputError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

SCRATCH_PREFIX = ".edgeopt-work-"
TEMPORARY = "tmp"


@dataclass(frozen=True, slots=True)
class Workspace:
    """`folder` keeps the results; `scratch`, inside it, is removed when the context ends, whatever happened."""

    folder: Path
    scratch: Path

    @classmethod
    def create(cls, out: Path, model: str) -> Workspace:
        """Make the folder of `model` under `out`, and remove what a killed run may have left there.

        Raises:
            BadInputError: The folder cannot be written to.
        """
        folder = out.absolute() / model
        try:
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            for stale in folder.glob(f"{SCRATCH_PREFIX}*"):
                if not _owner_is_alive(stale):
                    shutil.rmtree(stale, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-", dir=folder))
            for name in ("exports", TEMPORARY):
                (scratch / name).mkdir()
        except OSError as error:
            raise cannot_write(folder, error) from error
        return cls(folder, scratch)

    def log(self, name: str) -> Path:
        """Return the log file called `name`; it is kept after the run."""
        return self.folder / "logs" / f"{name}.log"

    @property
    def temporary(self) -> Path:
        """Where a worker's libraries put their temporary files: they go when the run ends."""
        return self.scratch / TEMPORARY

    def staged(self, target: str) -> Path:
        """Return the new, empty folder that the artifact of `target` is written to."""
        staged = self.scratch / "exports" / target
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        return staged

    def discard(self, target: str) -> None:
        """Remove what was written for `target` so far."""
        shutil.rmtree(self.scratch / "exports" / target, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)


def cannot_write(folder: Path, error: OSError) -> BadInputError:
    """Return the error for an output folder that refuses a file."""
    hint = "free some space, or choose another folder with --out"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        hint = "choose another folder with --out"
    return BadInputError(f"the output folder {folder} cannot be written to: {error.strerror}", hint=hint)


def _owner_is_alive(scratch: Path) -> bool:
    """Whether the process that made a scratch folder still runs; its number is in the folder's name."""
    number = scratch.name.removeprefix(SCRATCH_PREFIX).partition("-")[0]
    try:
        os.kill(int(number), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
