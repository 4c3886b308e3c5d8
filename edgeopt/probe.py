"""Runs third-party code: first in a separate process, then here, with its output and errors contained.

Whether importing a plugin's module ends the process is tested once per version of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgeopt.errors import EdgeoptError, PluginError, in_words
from edgeopt.isolation import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

T = TypeVar("T")

LIMIT_S = 20.0
"""A module that takes longer to import counts as hanging."""
SURVIVED = "survived"
MOST_BACKENDS = 1000
"""A plugin that yields more counts as endless."""
TRY = f"""
import importlib, itertools, os, sys
said = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
try:
    module = importlib.import_module(sys.argv[1])
    for backend in itertools.islice(getattr(module, "edgeopt_backends", list)(), {MOST_BACKENDS}):
        pass
except BaseException:
    pass
os.write(said, b"{SURVIVED}")
os._exit(0)
"""


def call_stranger(action: Callable[[], T]) -> T:
    """Return the result of a plugin's code; this process survives anything it raises or prints.

    Raises:
        PluginError: The code raised an exception, `SystemExit` included; the message describes it.
    """
    with _kept(), _noting_interrupts() as pressed:
        try:
            return action()
        except EdgeoptError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and pressed:
                raise
            raise PluginError(in_words(error)) from error


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Restore process-wide state that a module may change: folder, environment, standard input and output."""
    folder, variables = os.open(".", os.O_RDONLY), dict(os.environ)
    try:
        with _silence():
            yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        if os.environ != variables:
            os.environ.clear()
            os.environ.update(variables)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard all output, of Python or a C library, and make standard input empty.

    Standard output must hold only the document, and a plugin's prompts would be invisible.
    """
    before = sys.stdout
    with contextlib.suppress(OSError, ValueError):
        before.flush()
    kept = {number: copy for number in (0, 1) if (copy := _copy_of(number)) is not None}
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in kept:
        os.dup2(nowhere, number)
    os.close(nowhere)
    sys.stdout = StringIO()
    try:
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        sys.stdout = before if not before.closed else os.fdopen(1, "w", closefd=False)


def _copy_of(number: int) -> int | None:
    """Return a duplicate of a file descriptor; None if it is closed."""
    try:
        return os.dup(number)
    except OSError:
        return None


@contextlib.contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Give a list that records real interrupts: a plugin may raise `KeyboardInterrupt` on its own."""
    pressed: list[int] = []
    handlers = {n: handler for n in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(n))}

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        handlers[signal.Signals(number)](number, frame)

    try:
        for number in handlers:
            signal.signal(number, note)
    except ValueError:  # only the main thread receives signals; another one cannot be interrupted
        handlers.clear()
    try:
        yield pressed
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def why_deadly(module: str, version: str) -> str | None:
    """Return how importing a module ends or hangs a process, or None; exceptions do not count."""
    known = _known(module, version)
    if known is not None and known.is_file():
        return None
    reason = _try(module)
    if reason is None and known is not None:
        with contextlib.suppress(OSError):  # without a cache it is tested each time
            known.parent.mkdir(parents=True, exist_ok=True)
            known.touch()
    return reason


def _try(module: str) -> str | None:
    """Import a module in a separate process; see `why_deadly`."""
    command = [sys.executable, "-c", TRY, module]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"importing it took more than {LIMIT_S:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    if said == SURVIVED:
        return None
    if process.returncode < 0:
        return f"importing it ended the process by {signal.Signals(-process.returncode).name}"
    return f"importing it ended the process with exit code {process.returncode}"


def _known(module: str, version: str) -> Path | None:
    """Return the file that marks this module, unchanged, as imported before; None if it is not a file."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    state = Path(spec.origin).stat()
    key = repr((spec.origin, state.st_mtime_ns, state.st_size, version, sys.version))
    return cache_folder() / "imported" / hashlib.sha256(key.encode()).hexdigest()[:16]
