"""Durations of slow steps in earlier runs on this machine, used to estimate them in later runs."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.isolation import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "durations.json"
WORTH_S = 2.0
"""Shorter steps end before an estimate would be useful."""
MOST_STEPS = 200
"""Number of steps kept, the latest ones."""
MOST_BYTES = 1 << 20
MINUTES_FROM_S = 100.0
YEAR_S = 3.2e7


class Durations:
    """The latest duration of each step in seconds, stored in the cache folder.

    If the file is damaged, or cannot be read or written, steps are announced without an estimate.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def about(self, step: str) -> str:
        """Return the expected duration of a step, as the end of a sentence; empty if short or unknown."""
        seconds = self._read().get(step, 0.0)
        return f", about {in_words(seconds)}" if seconds >= WORTH_S else ""

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Store the duration of this context, unless it ends with an error."""
        begin = time.monotonic()
        yield
        self.keep(step, time.monotonic() - begin)

    def keep(self, step: str, seconds: float) -> None:
        """Store the duration of a step."""
        with self._lock, suppress(OSError):
            known = self._read()
            known.pop(step, None)  # so that it becomes the latest
            latest = dict([*known.items(), (step, round(seconds, 2))][-MOST_STEPS:])
            self._write(json.dumps(latest))

    @staticmethod
    def _read() -> dict[str, float]:
        with suppress(OSError, ValueError, RecursionError):
            file = cache_folder() / FILE
            if file.stat().st_size <= MOST_BYTES:
                known = json.loads(file.read_text("utf-8"))
                steps = known.items() if isinstance(known, dict) else ()
                return {step: s for step, s in steps if isinstance(s, float) and 0 <= s < YEAR_S}
        return {}

    @staticmethod
    def _write(text: str) -> None:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        # Another run may write at the same time: each writes its own file, and one of them remains.
        handle, name = tempfile.mkstemp(dir=folder, prefix=FILE)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(folder / FILE)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def in_words(seconds: float) -> str:
    """Format a duration in seconds, or in minutes from `MINUTES_FROM_S` on."""
    return f"{seconds:.0f} s" if seconds < MINUTES_FROM_S else f"{seconds / 60:.0f} min"
