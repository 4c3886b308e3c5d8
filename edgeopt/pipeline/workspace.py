"""The folder of one run: permanent results (artifacts, logs, `run.json`) and temporary files."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.errors import BadInputError, full_disk
from edgeopt.report.schema import SOURCE_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

SCRATCH_PREFIX = ".edgeopt-work-"
TEMPORARY = "tmp"
RUN = "run.json"
ELSEWHERE = "move it away, or choose another folder with --out"


@dataclass(frozen=True, slots=True)
class Workspace:
    """`folder` keeps the results; `scratch`, inside it, is always removed when the context ends."""

    folder: Path
    scratch: Path
    document: str = RUN
    """The name of the run's file in `folder`."""
    logs: str = "logs"
    """The path of the logs in `folder`."""

    @classmethod
    def create(cls, out: Path, model: str) -> Workspace:
        """Create the folder of `model` in `out`, and remove leftovers of killed runs.

        Raises:
            BadInputError: The folder is not writable.
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

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Lock the folder, which receives this run's logs and document, against other runs.

        Raises:
            BadInputError: Another run is writing to it, or an existing file or folder blocks this one's output.
        """
        with _locked(self.folder):
            if (self.folder / RUN).is_dir():
                message = f"{self.folder / RUN} is a folder, where the file of this run must go"
                raise BadInputError(message, hint=ELSEWHERE)
            for name in ("model", SOURCE_TARGET):
                self.start_log(name)
            yield

    def log(self, name: str) -> Path:
        """Return the path of the log called `name`, which is kept after the run."""
        return self.folder / self.logs / f"{name}.log"

    def journal(self, device: str) -> Path:
        """Return the path of the journal of measurements on a device."""
        return self.folder / f"profile-{slug(device)}.jsonl"

    def for_device(self, device: str) -> Workspace:
        """Return the part of this workspace for a profile on one of several devices.

        Raises:
            BadInputError: The folder is not writable.
        """
        name = slug(device)
        part = replace(self, scratch=self.scratch / name, document=f"profile-{name}.json", logs=f"logs/{name}")
        try:
            for folder in (part.scratch, self.folder / part.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return part

    def start_log(self, name: str) -> Path:
        """Remove an earlier run's log called `name`, and return its path.

        Raises:
            BadInputError: The old log cannot be removed; it may be a folder.
        """
        file = self.log(name)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise BadInputError(f"the log {file} cannot be replaced: {error.strerror}", hint=ELSEWHERE) from error
        return file

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of a worker's libraries; removed when the run ends."""
        return self.scratch / TEMPORARY

    def staged(self, target: str) -> Path:
        """Create and return an empty folder for the artifact of `target`."""
        staged = self.scratch / "exports" / target
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        return staged

    def discard(self, target: str) -> None:
        """Remove the files written for `target` so far."""
        shutil.rmtree(self.scratch / "exports" / target, ignore_errors=True)

    def save(self, text: str) -> None:
        """Write the document of the run atomically.

        Raises:
            BadInputError: It cannot be written; the disk may be full.
        """
        try:
            try:
                self._write(text)
            except OSError as error:
                if full_disk(error) is None:
                    raise
                self.make_room()  # the feeds and outputs are no longer needed
                self._write(text)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def _write(self, text: str) -> None:
        temporary = self.scratch / self.document
        temporary.write_text(text, "utf-8")
        temporary.replace(self.folder / self.document)

    def make_room(self) -> None:
        """Remove the run's intermediate files: feeds, outputs, unpublished artifacts."""
        for place in self.scratch.iterdir():
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)


def slug(device: str) -> str:
    """Convert a device's address to a part of a file name: `pi5`, `ssh-pi-raspberrypi-22`."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", device).strip("-.") or "device"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder; the lock ends at the latest with the process, even if that is killed.

    Raises:
        BadInputError: Another process holds it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems do not support locks
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another run is writing to {folder}"
                raise BadInputError(message, hint="wait for its end, or choose another folder with --out") from None
        yield
    finally:
        os.close(opened)


def cannot_write(folder: Path, error: OSError) -> BadInputError:
    """Return the error for an output folder that is not writable."""
    hint = "free some space, or choose another folder with --out"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        hint = "choose another folder with --out"
    return BadInputError(f"the output folder {folder} cannot be written to: {error.strerror}", hint=hint)


def _owner_is_alive(scratch: Path) -> bool:
    """Return whether the process that made a scratch folder, and is named in it, still runs."""
    number = scratch.name.removeprefix(SCRATCH_PREFIX).partition("-")[0]
    try:
        os.kill(int(number), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
