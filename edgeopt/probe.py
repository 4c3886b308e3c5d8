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
TRY = f"""
import importlib, os, sys
said = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
try:
    importlib.import_module(sys.argv[1])
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
    with _silence(), _noting_interrupts() as pressed:
        try:
            return action()
        except EdgeoptError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and pressed:
                raise
            raise PluginError(in_words(error)) from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Throw away what is printed, by Python or by a C library: standard output may hold nothing but a document."""
    before = sys.stdout
    with contextlib.suppress(OSError, ValueError):
        before.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output to keep clean
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = StringIO()
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        sys.stdout = before if not before.closed else os.fdopen(1, "w", closefd=False)


@contextlib.contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Give a list that a real Ctrl-C is noted in: a plugin may raise `KeyboardInterrupt` on its own."""
    pressed: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is signal.default_int_handler]
    try:
        for number in numbers:
            signal.signal(number, note)
    except ValueError:  # only the main thread hears signals; another one cannot be interrupted
        numbers = []
    try:
        yield pressed
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)


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
