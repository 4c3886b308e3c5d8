"""The child process that exports: it opens the source model once, then serves targets one after another.

It reads one JSON message per line from standard input and writes one answer per line to standard output. The output of
libraries and plugins goes to the log file of the current target. When the parent is gone, the worker ends: a thread
watches for the end of standard input.

The only messages are `open` (a source model and a workspace) and `export` (a target); an answer is a JSON object, with
the key `error` if it failed. Lines with the key `event` in between report progress.
"""

from __future__ import annotations

import faulthandler
import math
import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, EdgeoptError, ExportError, PluginError, full_disk, in_words, readable
from edgeopt.measure.harness import Wire
from edgeopt.watch import Watch

if TYPE_CHECKING:
    from edgeopt.contract import Artifact, Backend
    from edgeopt.source.model import LoadedSource


NOT_MEANT = "the log has the whole story"
"""Hint for an exception that a backend did not raise on purpose."""
MOST_WARNINGS = 20


class Worker:
    """Holds the opened source model and answers messages about it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._source: LoadedSource | None = None
        self._watch = Watch()

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer one message; an error becomes an answer, never an exception."""
        try:
            _log_to(Path(message["log"]))
            handle = {"open": self._open, "export": self._export}[message["op"]]
            return handle(message)
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit included
            with suppress(OSError):  # the log may be on the full disk
                traceback.print_exc()
            return {"error": _describe(error)}

    def _open(self, message: dict[str, Any]) -> dict[str, Any]:
        from edgeopt.source.choice import SourceChoice
        from edgeopt.source.model import open_source

        self._watch.allow_always(Path(message["workspace"]))
        choice = SourceChoice.from_dict(message["choice"])
        source = open_source(choice, Path(message["workspace"]), host_python=message.get("host_python"))
        self._source = source
        return {
            "name": source.name,
            "format": source.format,
            "path": str(source.path),
            "saved_model": str(source.saved_model()),
            "inputs": [asdict(spec) for spec in source.inputs],
            "outputs": [asdict(spec) for spec in source.outputs],
            "ranges": source.ranges,
            "warnings": list(source.warnings),
        }

    def _export(self, message: dict[str, Any]) -> dict[str, Any]:
        from edgeopt.contract import ExportRequest
        from edgeopt.data import read_feeds
        from edgeopt.options import fill

        source = self._source
        if source is None:
            raise ExportError("no source model is open in this worker")
        backend = _find_backend(message["module"], message["backend"])
        out_dir = Path(message["out_dir"])
        request = ExportRequest(
            source=source,
            out_dir=out_dir,
            options=fill(backend.Options, message["options"], origin=message["target"]),
            calibration=read_feeds(Path(message["calibration"])),
            log=lambda text: self._wire.send({"event": "log", "text": readable(text)}),
            cpu_features=tuple(message["cpu_features"]),
        )
        begin = time.perf_counter()
        with self._watch.allowing(out_dir):
            artifact = backend().export(request)
        seconds = time.perf_counter() - begin
        self._watch.check()
        return {**_artifact_as_json(artifact), "export_s": seconds}


def _find_backend(module: str, name: str) -> type[Backend]:
    """Return a backend from a plugin's module, not by entry point: a separate environment lacks them."""
    from edgeopt.discovery import backends_of

    found = {backend.name: backend for backend in backends_of(import_module(module), module)}
    if name not in found:
        raise PluginError(f"{module} no longer gives a backend called {name}")
    return found[name]


def _artifact_as_json(artifact: Artifact) -> dict[str, Any]:
    """Return the artifact as an answer, with every part checked for the later steps.

    Raises:
        PluginError: A part violates the contract.
    """
    from edgeopt.contract import Artifact as Contract

    if not isinstance(artifact, Contract):
        raise PluginError(f"the backend returned {type(artifact).__name__}, not an Artifact")
    feeds = artifact.calibration_feeds
    if not isinstance(feeds, int) or isinstance(feeds, bool) or feeds < 0:
        raise _misfit("calibration_feeds", feeds, "a whole number, 0 or more")
    return {
        "main": _path(artifact.main, "main"),
        "files": [_path(file, "files") for file in _listed(artifact.files, "files", "paths")],
        "metadata": _metadata(artifact.metadata),
        "warnings": _warnings(artifact.warnings),
        "calibration_feeds": feeds,
        "needs": _needs(artifact.needs),
        "fallback": _fallback(artifact.fallback),
    }


def _needs(needs: Any) -> list[str]:
    """Return the needs if edgeopt supports each of them; raise otherwise."""
    from edgeopt.measure.instructions import KNOWN

    for need in _listed(needs, "needs", "texts"):
        if _text(need, "needs") not in KNOWN:
            raise _misfit("needs", need, f"one of {', '.join(sorted(KNOWN))}")
    return list(needs)


def _fallback(fallback: Any) -> str:
    """Return the fallback if it is a setting or empty; raise otherwise."""
    from edgeopt.measure.instructions import SETTING

    if _text(fallback, "fallback") and not SETTING.fullmatch(fallback):
        raise _misfit("fallback", fallback, "a setting as --set takes it")
    return str(fallback)


def _metadata(metadata: Any) -> dict[str, Any]:
    """Return the metadata if it is flat and its numbers are finite; raise otherwise."""
    if not isinstance(metadata, Mapping):
        raise _misfit("metadata", metadata, "a mapping")
    for key, value in metadata.items():
        _text(key, "metadata")
        if not isinstance(value, (str, int, float)):
            raise _misfit(f"metadata[{key!r}]", value, "a text, a number or a boolean")
        with suppress(OverflowError):  # too large for a float, so for any other program too
            if isinstance(value, str) or math.isfinite(value):
                continue
        raise _misfit(f"metadata[{key!r}]", value, "a finite number")
    return dict(metadata)


def _warnings(warnings: Any) -> list[str]:
    """Return the warnings, limited to a number that a person reads."""
    texts = [_text(text, "warnings") for text in _listed(warnings, "warnings", "texts")]
    more = len(texts) - MOST_WARNINGS
    return texts if more <= 0 else [*texts[:MOST_WARNINGS], f"and {more:,} warnings more"]


def _listed(values: Any, member: str, what: str) -> list[Any]:
    """Return a tuple or list as a list; refuse a text, though it is iterable."""
    if not isinstance(values, (tuple, list)):
        raise _misfit(member, values, f"a tuple of {what}")
    return list(values)


def _path(value: Any, member: str) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise _misfit(member, value, "a path")
    return os.fsdecode(value)


def _text(value: Any, member: str) -> str:
    if not isinstance(value, str):
        raise _misfit(member, value, "a text")
    return value


def _misfit(member: str, value: Any, wanted: str) -> PluginError:
    """Return the error for a part of an artifact that violates the contract."""
    shown = f"{readable(value)[:40]} of type {type(value).__name__}"
    return PluginError(f"Artifact.{member} holds {shown}; wanted {wanted}", hint="tell the authors of the plugin")


def _log_to(file: Path) -> None:
    """Append all further output, of Python and of C libraries, to `file`.

    Raises:
        BadInputError: It cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk, or a backend that closed it
            stream.flush()
    try:
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise BadInputError(f"the log {file} cannot be written: {error.strerror}") from error
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _describe(error: BaseException) -> dict[str, str]:
    """Return kind, message and hint of any exception; one not from edgeopt counts as a failed export."""
    error = full_disk(error) or error
    with suppress(AttributeError):  # a plugin's own subclass may have forgotten its base
        if isinstance(error, EdgeoptError):
            return {"kind": readable(error.kind), "message": error.message, "hint": error.hint}
    return {"kind": ExportError.kind, "message": in_words(error), "hint": NOT_MEANT}


def main() -> None:
    """Serve the parent until it closes standard input."""
    wire = Wire()
    faulthandler.enable()  # a segfault leaves the Python stack in the log
    worker = Worker(wire)
    while True:
        wire.send(worker.answer(wire.receive()))


if __name__ == "__main__":
    main()
