"""Detects writes of a backend outside its output folder.

Audit events report the files that Python itself opens, makes, moves and removes (PEP 578). Writes by a C library go
unseen, so this finds mistakes, not attacks.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeopt.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHARED = ("source", "shared", "tmp")
"""Folders of a run's workspace that every worker may write to."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, None),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
}
"""Audit events that change the file system: the argument positions of each path and of the open folder it starts at."""
OUTSIDE = "the backend wrote outside its output folder"
MOST = 3
"""Maximum number of stray paths in an error."""


class Watch:
    """Records paths outside the allowed folders that an export writes to."""

    def __init__(self) -> None:
        self._always: list[str] = []
        self._out_dir = ""
        self._watching = False
        self._strays: dict[str, None] = {}
        self._started = False

    def allow_always(self, workspace: Path) -> None:
        """Allow every export to write to the shared folders and to libraries' settings, caches and bytecode."""
        home = os.path.expanduser("~")  # noqa: PTH111 - strings are compared in a hook that is called very often
        # Matplotlib, which other libraries import, makes its settings folder if it is missing.
        hidden = {"XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config", "KERAS_HOME": ".keras"}
        own = [os.environ.get(variable, os.path.join(home, name)) for variable, name in hidden.items()]  # noqa: PTH118
        places = [*(str(workspace / name) for name in SHARED), *own, sys.prefix, sys.base_prefix, "/dev", "/proc"]
        self._always = [os.path.realpath(place) for place in places]

    @contextmanager
    def allowing(self, out_dir: Path) -> Iterator[None]:
        """Record writes outside `out_dir` for as long as the context lasts."""
        if not self._started:
            self._started = True
            sys.addaudithook(self._hear)  # a hook stays forever, so only one is added, at the first export
        self._out_dir = os.path.realpath(out_dir)
        self._strays.clear()
        self._watching = True
        try:
            yield
        finally:
            self._watching = False

    def check(self) -> None:
        """Report the recorded paths.

        Raises:
            PluginError: Something was written outside of the export's own folder.
        """
        if self._strays:
            named = list(self._strays)
            more = f" and {len(named) - MOST} more" if len(named) > MOST else ""
            raise PluginError(
                f"{OUTSIDE}: {', '.join(named[:MOST])}{more}",
                hint="tell its authors; look at what it wrote there",
            )

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING:
                self._note(path)
        elif event in CHANGES:
            for position, start in CHANGES[event]:
                self._note(arguments[position], -1 if start is None else arguments[start])

    def _note(self, path: Any, start: int = -1) -> None:
        """Record a path unless it is allowed; ignore a number, which is an open file."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        folder, name = os.path.split(os.fsdecode(path))
        base = "." if start < 0 else f"/proc/self/fd/{start}"
        if not os.path.exists(base):  # noqa: PTH110 - without /proc, nothing is claimed
            return
        place = os.path.join(os.path.realpath(os.path.join(base, folder)), name)  # noqa: PTH118
        if not name.endswith(".pyc") and not any(_is_below(place, root) for root in (self._out_dir, *self._always)):
            self._strays[place] = None


def _is_below(place: str, root: str) -> bool:
    return place == root or place.startswith(root + os.sep)
