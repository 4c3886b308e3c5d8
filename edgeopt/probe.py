"""Runs a stranger's code: in a process of its own first, then here, where neither its prints nor its errors spread.

Whether a plugin's module can be imported without taking the process with it is found out once per version of it.
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
"""A module that takes longer to import hangs."""
SURVIVED = "survived"
MOST_BACKENDS = 1000
"""A plugin that gives more goes on for ever."""
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
    """Return what a plugin's code returns; whatever it raises or prints on the way, this process goes on as before.

    Raises:
        PluginError: What it raised, `SystemExit` included, in words.
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
    """Put back what a module may change for the whole process: the current folder, the environment, the terminal."""
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
    """Throw away what is printed, by Python or by a C library, and let nothing be read.

    Standard output may hold nothing but a document, and nobody knows what a plugin asks for.
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
    """Return another number for an open file, None where it is closed."""
    try:
        return os.dup(number)
    except OSError:
        return None


@contextlib.contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Give a list that a real Ctrl-C is noted in: a plugin may raise `KeyboardInterrupt` on its own."""
    pressed: list[int] = []
    handlers = {n: handler for n in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(n))}

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        handlers[signal.Signals(number)](number, frame)

    try:
        for number in handlers:
            signal.signal(number, note)
    except ValueError:  # only the main thread hears signals; another one cannot be interrupted
        handlers.clear()
    try:
        yield pressed
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def why_deadly(module: str, version: str) -> str | None:
    """Return how importing a module ends a process, or None; an exception is no such end."""
    known = _known(module, version)
    if known is not None and known.is_file():
        return None
    reason = _try(module)
    if reason is None and known is not None:
        with contextlib.suppress(OSError):  # without a cache it is found out each time
            known.parent.mkdir(parents=True, exist_ok=True)
            known.touch()
    return reason


def _try(module: str) -> str | None:
    """Import a module in a process of its own."""
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
    """Return the file that says that this module, as it is now, was imported before; None for what is no file."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    state = Path(spec.origin).stat()
    key = repr((spec.origin, state.st_mtime_ns, state.st_size, version, sys.version))
    return cache_folder() / "imported" / hashlib.sha256(key.encode()).hexdigest()[:16]
