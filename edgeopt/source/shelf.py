"""Build folders once per run, in the first worker process that needs them."""

from __future__ import annotations

import fcntl
import re
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


class Shelf:
    """The shared folders of one run, under `folder`.

    Each is filled in a staging folder under a lock and moved into place when complete. The operating system releases
    the lock if a worker dies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._building: set[str] = set()

    def once(self, key: str, build: Callable[[Path], None]) -> Path:
        """Return the folder named `key`; `build` fills it if no process has done so yet."""
        if not KEY.fullmatch(key):
            raise ValueError(f"the key {key!r} is not made of letters, digits and hyphens")
        done = self._folder / key
        if done.is_dir():
            return done
        if key in self._building:
            raise ValueError(f"building {key!r} asks for {key!r} itself")
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.is_dir():
                self._building.add(key)
                try:
                    self._build(done, build)
                finally:
                    self._building.discard(key)
        return done

    def _build(self, done: Path, build: Callable[[Path], None]) -> None:
        """Let `build` fill a new folder and move it into place, or remove it on an error."""
        staged = done.with_name(f"{done.name}.staged")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            build(staged)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        staged.rename(done)
