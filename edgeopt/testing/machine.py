"""The local machine, which runs the kit's processes: TensorFlow is imported once for each export folder."""

from __future__ import annotations

import atexit
import os
import shutil
import site
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.devices.local import LocalDevice
from edgeopt.isolation import CACHE_VARIABLE, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN, ODD = "plain", "Ort mit Ä, ß und 木"
"""The two export folders: one path as programmers have it, one as users have it."""


@cache
def machine(place: str) -> LocalDevice:  # noqa: ARG001 - it is the key of the cache
    """Return this machine, shared by all backends that a test process checks in one place.

    Processes forked from one import share the order of sets, so each place has an import of its own.
    """
    device = LocalDevice()
    home = tempfile.mkdtemp(prefix="edgeopt-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    atexit.register(device.close)
    with children_at_home(Path(home)):
        device.warm_up()
    return device


def import_everywhere() -> None:
    """Start the imports of all places at the same time."""
    for place in (PLAIN, ODD):
        machine(place)


@contextmanager
def children_at_home(home: Path) -> Iterator[None]:
    """Give child processes started in this context an empty home.

    They use this process's import path: a plugin under development need not be installed.
    """
    before = dict(os.environ)
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    os.environ[CACHE_VARIABLE] = str(cache_folder())  # a backend's own environment stays where it is
    os.environ.update(
        HOME=str(home),
        PYTHONPATH=path,
        PYTHONUSERBASE=site.getuserbase(),
        PYTHONDONTWRITEBYTECODE="1",
    )
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
