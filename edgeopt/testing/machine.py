"""This machine, on which the kit's processes run: TensorFlow is imported once for each place that is exported into."""

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
"""The two folders that are exported into: one path as programmers have it, one as users have it."""


@cache
def machine(place: str) -> LocalDevice:  # noqa: ARG001 - it is the key of the cache
    """Return this machine for all backends that a process of tests checks in one place.

    What is forked from one import has one order of sets, so what is made in two places comes from two.
    """
    device = LocalDevice()
    home = tempfile.mkdtemp(prefix="edgeopt-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    atexit.register(device.close)
    with children_at_home(Path(home)):
        device.warm_up()
    return device


def import_everywhere() -> None:
    """Begin the imports of all places at the same time."""
    for place in (PLAIN, ODD):
        machine(place)


@contextmanager
def children_at_home(home: Path) -> Iterator[None]:
    """Let the children that are started now have an empty home.

    They import from where this process does: a plugin that is being written need not be installed.
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
