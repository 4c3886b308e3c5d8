"""The folder of one run: what stays (artifacts, logs, `run.json`) and what goes when the run ends."""

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
    """`folder` keeps the results; `scratch`, inside it, is removed when the context ends, whatever happened."""

    folder: Path
    scratch: Path
    document: str = RUN
    """The file in `folder` that the run is written into."""
    logs: str = "logs"
    """The folder in `folder` for the logs."""

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

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Keep other runs out of the folder, which gets the logs and the document of this one.

        Raises:
            BadInputError: Another run is writing to it, or something is in the place of what this one must write.
        """
        with _locked(self.folder):
            if (self.folder / RUN).is_dir():
                message = f"{self.folder / RUN} is a folder, where the file of this run must go"
                raise BadInputError(message, hint=ELSEWHERE)
            for name in ("model", SOURCE_TARGET):
                self.start_log(name)
            yield

    def log(self, name: str) -> Path:
        """Return the log file called `name`; it is kept after the run."""
        return self.folder / self.logs / f"{name}.log"

    def journal(self, device: str) -> Path:
        """Return the file for what is measured on a device, as it comes."""
        return self.folder / f"profile-{slug(device)}.jsonl"

    def for_device(self, device: str) -> Workspace:
        """Return the part of this one that belongs to a profile on one device of several.

        Raises:
            BadInputError: The folder cannot be written to.
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
        """Return the log file called `name`, without what an older run wrote.

        Raises:
            BadInputError: Something else is in its place.
        """
        file = self.log(name)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise BadInputError(f"the log {file} cannot be replaced: {error.strerror}", hint=ELSEWHERE) from error
        return file

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

    def save(self, text: str) -> None:
        """Write the document of the run, whole or not at all.

        Raises:
            BadInputError: It cannot be written; the disk may be full.
        """
        try:
            try:
                self._write(text)
            except OSError as error:
                if full_disk(error) is None:
                    raise
                self.make_room()  # nobody needs the feeds and the outputs any more
                self._write(text)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def _write(self, text: str) -> None:
        temporary = self.scratch / self.document
        temporary.write_text(text, "utf-8")
        temporary.replace(self.folder / self.document)

    def make_room(self) -> None:
        """Remove what the run needed on its way: feeds, outputs, what was not published."""
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
    """Return a device's address as a part of a file's name: `pi5`, `ssh-pi-raspberrypi-22`."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", device).strip("-.") or "device"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder; the lock ends with the process, however that ends.

    Raises:
        BadInputError: Another process holds it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another run is writing to {folder}"
                raise BadInputError(message, hint="wait for its end, or choose another folder with --out") from None
        yield
    finally:
        os.close(opened)


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
