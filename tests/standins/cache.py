"""Things that take long to build, built once for all test runs, in a folder outside the tree.

`EDGEOPT_TEST_CACHE` names it; else it lies in the user's cache folder. It may be deleted at any time.
"""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

import platformdirs


def folder():
    made = Path(os.environ.get("EDGEOPT_TEST_CACHE") or platformdirs.user_cache_path("edgeopt-tests")).absolute()
    made.mkdir(parents=True, exist_ok=True)
    return made


def built(name, recipe, build):
    """The folder that `build` has filled for a recipe, now or in an earlier run.

    A second process that wants the same waits. A build that was broken off is begun again.

    Args:
        name: how the folder's name begins.
        recipe: text that changes whenever the result would.
        build: called with an empty folder.
    """
    target = folder() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            scratch = folder() / f"{name}.partial"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            build(scratch)
            scratch.rename(target)
    return target
