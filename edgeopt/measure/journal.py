"""Record a measurement in a file as it proceeds, so that an interrupted run can be resumed.

One JSON object per line. The first, the head, identifies the artifacts and the method; each of the others is one of

    launch, rounds                            a launch begins, with this number of rounds planned
    launch, process, load_s, first_s, steady, untimed, facts
                                              an artifact is loaded and warm
    launch, round                             the samples of one complete round by artifact, in nanoseconds
    launch, memory, peak_bytes, model_bytes, facts
                                              the memory of the process of an artifact
    launch, whole                             a launch is complete

The second copy that serves as a control is an artifact like any other here. An incomplete round is never written, and
an incomplete last line is ignored. A journal that could not be resumed because its head differs is kept beside this
one, with `.old` behind its name.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgeopt.measure.measurement import Launch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class Journal:
    """Writes a journal.

    Args:
        file: Path of the journal; with `resume`, an older one with the same head is appended to.
        head: Artifacts, device, versions and settings; all must match to resume.
        resume: Whether to continue an older journal. One with another head is then kept, and continued once its head
            is requested.
    """

    def __init__(self, file: Path, head: Mapping[str, Any], *, resume: bool = False) -> None:
        self._file = file
        self._is_lost = False
        """Whether a record could not be written; later ones would be meaningless."""
        self._old = file.with_name(f"{file.name}.old")
        self.earlier = self._take_up(head) if resume else None
        """Results of an older run; None without one of the same artifacts, measured the same way."""
        if self.earlier is None:
            self._write("w", head)

    @property
    def kept(self) -> Path | None:
        """Path of the kept journal with another head; None without one."""
        return self._old if self._old.is_file() else None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; a full disk must not end the measurement."""
        if not self._is_lost:
            self._write("a", record)

    def _write(self, mode: str, record: Mapping[str, Any]) -> None:
        try:
            with self._file.open(mode, encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError:
            self._is_lost = True

    def _take_up(self, head: Mapping[str, Any]) -> Earlier | None:
        """Return the results in an older journal with this head, and append to it from now on."""
        earlier = _read(self._file, head)
        try:
            if earlier is None:
                earlier = _read(self._old, head)
                if earlier is None and not _has_rounds(self._file):
                    return None
                _swap(self._file, self._old)
            if earlier is not None:
                _cut_off(self._file)
        except OSError:
            return None
        return earlier


def _has_rounds(file: Path) -> bool:
    """Return whether a journal with any head is worth keeping."""
    return file.is_file() and b'"round": ' in file.read_bytes()


def _swap(file: Path, other: Path) -> None:
    """Exchange the names of two files, one of which may be missing."""
    between = file.with_name(f"{file.name}.new")
    for now, then in ((file, between), (other, file), (between, other)):
        with suppress(FileNotFoundError):
            now.replace(then)


def _cut_off(file: Path) -> None:
    """Remove an incomplete last line, since the next record would be glued to it."""
    with file.open("r+b") as lines:
        lines.truncate(lines.read().rfind(b"\n") + 1)


@dataclass(slots=True)
class Earlier:
    """Results of an interrupted measurement."""

    launches: dict[str, list[Launch]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    untimed: dict[str, str | None] = field(default_factory=dict)
    number: int = 0
    """Number of the next launch."""
    whole: int = 0
    """Number of complete launches."""
    owed: int = 0
    """Number of rounds still missing from the last launch."""


def _read(file: Path, head: Mapping[str, Any]) -> Earlier | None:
    """Return the results in a journal with this head; None without such a journal."""
    try:
        lines = file.read_text("utf-8").splitlines(keepends=True)
        if json.loads(lines[0]) != json.loads(json.dumps(head)):
            return None
        return _restore(json.loads(line) for line in lines[1:] if line.endswith("\n"))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _restore(records: Iterable[Mapping[str, Any]]) -> Earlier:
    found = Earlier()
    for record in records:
        number = int(record["launch"])
        found.number = number + 1
        if "rounds" in record:
            found.owed = int(record["rounds"])
        elif "process" in record:
            _restore_process(found, record, number)
        elif "round" in record:
            found.owed -= 1
            for name, samples in record["round"].items():
                last = found.launches[name][-1]
                found.launches[name][-1] = replace(last, rounds=(*last.rounds, tuple(map(int, samples))))
        elif "memory" in record:
            name = record["memory"]
            sizes = {key: record[key] for key in ("peak_bytes", "model_bytes")}
            found.launches[name][-1] = replace(found.launches[name][-1], **sizes)
            found.facts[name] = record["facts"]
        else:
            found.whole += 1
            found.owed = 0
    for launches in found.launches.values():
        launches[:] = [launch for launch in launches if launch.rounds or launch.peak_bytes is not None]
    return found


def _restore_process(found: Earlier, record: Mapping[str, Any], number: int) -> None:
    name = record["process"]
    found.facts[name], found.untimed[name] = record["facts"], record["untimed"]
    launch = Launch(number, float(record["load_s"]), float(record["first_s"]), bool(record["steady"]), (), None, None)
    found.launches.setdefault(name, []).append(launch)
