"""What is going on, on standard error: a few live lines on a terminal, plain lines in a pipe or a log."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from edgeopt.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderResult

    from edgeopt.pipeline.request import Progress

REPEAT_S = 10.0
"""In a pipe, what goes on in one place is told again only after so long."""
FRAMES = "|/-\\"
"""Not the usual dots: these exist in every font and every encoding."""


@contextmanager
def watch(console: Console) -> Iterator[Progress]:
    """Give a progress that shows itself on `console` as long as the context lasts."""
    if not console.is_terminal:
        yield PlainLines(console)
        return
    lines = LiveLines(console)
    with Live(lines, console=console, transient=True, refresh_per_second=8):
        yield lines


@dataclass(slots=True)
class PlainLines:
    """Progress as lines that are written once, for pipes and logs."""

    console: Console
    _told: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stage(self, key: str, text: str) -> None:
        """Tell it, unless something was told of `key` just now."""
        with self._lock:
            now = time.monotonic()
            if now - self._told.get(key, -REPEAT_S) >= REPEAT_S:
                self._told[key] = now
                self._print(f"{key}: {text}")

    def done(self, key: str, text: str) -> None:
        """Tell the outcome."""
        with self._lock:
            self._told.pop(key, None)
            self._print(f"{key}: {text}")

    def say(self, text: str) -> None:
        """Tell it."""
        with self._lock:
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(Text(plain(text)), soft_wrap=True)


@dataclass(slots=True)
class LiveLines:
    """Progress on a terminal: one line for everything that is going on, with how long it has taken so far."""

    console: Console
    _busy: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stage(self, key: str, text: str) -> None:
        """Show what `key` is busy with; its clock goes on from its first stage."""
        with self._lock:
            begin = self._busy[key][1] if key in self._busy else time.monotonic()
            self._busy[key] = (plain(text), begin)

    def done(self, key: str, text: str) -> None:
        """Let the outcome stand above the live lines."""
        with self._lock:
            self._busy.pop(key, None)
        self.say(f"{key}: {text}")

    def say(self, text: str) -> None:
        """Let it stand above the live lines."""
        self.console.print(Text(plain(text), "dim"), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            busy = list(self._busy.items())
        now = time.monotonic()
        for key, (text, begin) in busy:
            clock = f" {now - begin:.0f} s  "
            line = Text.assemble(self._mark(now), " ", (plain(key), "bold"), clock, text, no_wrap=True)
            line.truncate(options.max_width, overflow="ellipsis")
            yield line

    @staticmethod
    def _mark(now: float) -> str:
        return FRAMES[int(now * 4) % len(FRAMES)]
