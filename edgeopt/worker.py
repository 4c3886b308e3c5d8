"""The child process that exports: it opens the source model once, then serves targets one after another.

It reads one JSON message a line from standard input and writes one answer a line to standard output. Whatever a
library or a plugin prints goes to the log file of the target that is being served. When the parent is gone, so is the
worker: a thread watches the end of standard input.

The messages are `open` (a source model and a workspace), `export` (a target) and nothing else; an answer is a JSON
object, with the key `error` when it failed. Lines with the key `event` come in between and say what is going on.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import sys
import time
import traceback
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, EdgeoptError, ExportError, PluginError
from edgeopt.measure.harness import Wire
from edgeopt.watch import Watch

if TYPE_CHECKING:
    from edgeopt.contract import Artifact, Backend
    from edgeopt.source.model import LoadedSource


class Worker:
    """Holds the opened source model and answers messages about it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._source: LoadedSource | None = None
        self._watch = Watch()

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one message; an error becomes an answer, never an exception."""
        _log_to(Path(message["log"]))
        try:
            handle = {"open": self._open, "export": self._export}[message["op"]]
            return handle(message)
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit included
            traceback.print_exc()
            return {"error": _describe(error)}

    def _open(self, message: dict[str, Any]) -> dict[str, Any]:
        from edgeopt.source.model import open_source
        from edgeopt.source.reference import SourceReference

        self._watch.allow_always(Path(message["workspace"]))
        reference = SourceReference.from_dict(message["reference"])
        source = open_source(reference, Path(message["workspace"]), host_python=message.get("host_python"))
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
            log=lambda text: self._wire.send({"event": "log", "text": str(text)}),
        )
        begin = time.perf_counter()
        with self._watch.allowing(out_dir):
            artifact = backend().export(request)
        seconds = time.perf_counter() - begin
        self._watch.check()
        return {**_artifact_as_json(artifact), "export_s": seconds}


def _find_backend(module: str, name: str) -> type[Backend]:
    """Return a backend of a plugin's module; no entry points, since an environment of its own has none."""
    from edgeopt.discovery import backends_of

    found = {backend.name: backend for backend in backends_of(import_module(module), module)}
    if name not in found:
        raise PluginError(f"{module} no longer gives a backend called {name}")
    return found[name]


def _artifact_as_json(artifact: Artifact) -> dict[str, Any]:
    """Return what the backend gave as an answer."""
    from edgeopt.contract import Artifact as Contract

    if not isinstance(artifact, Contract):
        raise ExportError(f"the backend returned {type(artifact).__name__}, not an Artifact")
    for key, value in artifact.metadata.items():
        if not isinstance(value, (str, int, float)):
            kind = type(value).__name__
            raise ExportError(f"the backend's metadata {key!r} is a {kind}, and no text, number or boolean")
    return {
        "main": str(artifact.main),
        "files": [str(file) for file in artifact.files],
        "metadata": dict(artifact.metadata),
        "warnings": [str(warning) for warning in artifact.warnings],
        "calibration_feeds": artifact.calibration_feeds,
    }


def _log_to(file: Path) -> None:
    """Send everything that is printed from now on, by Python or by a C library, to the end of `file`."""
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _describe(error: BaseException) -> dict[str, str]:
    """Return kind, message and hint of any exception; what edgeopt did not raise itself is a failed export."""
    if isinstance(error, EdgeoptError):
        return {"kind": error.kind, "message": error.message, "hint": error.hint}
    text = str(error).strip()
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
        full = "the disk is full"
        return {"kind": BadInputError.kind, "message": full, "hint": "free some space, or choose another --out"}
    first = text.splitlines()[0][:300] if text else "no message"
    return {
        "kind": ExportError.kind,
        "message": f"{type(error).__name__}: {first}",
        "hint": "the log has the whole story",
    }


def main() -> None:
    """Serve the parent until it closes standard input."""
    wire = Wire()
    faulthandler.enable()  # a segfault leaves the Python stack in the log
    worker = Worker(wire)
    while True:
        wire.send(worker.answer(wire.receive()))


if __name__ == "__main__":
    main()
