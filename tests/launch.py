"""Starts edgeopt as `python -m edgeopt` does, but with the TensorFlow that a process of the tests has imported already.

The first argument is the name under which that process listens, the rest are edgeopt's. An import takes 4 s, and the
tests start edgeopt some 60 times. `tests/faults`, the first test of `tests/pipeline/test_export.py` and the commands of
the README start it as users do.
"""

import os
import runpy
import sys
from contextlib import suppress
from pathlib import Path


class SharedParent:
    """What `edgeopt.devices.warm.WarmParent` is, for a parent that somebody else has started."""

    name = ""

    def __init__(self, command):
        pass

    def fork(self, run, log, environment):
        """Return a new process, or None if it has to be started as usual."""
        from edgeopt.devices.channel import open_log
        from edgeopt.devices.forked import connect, fork

        message = {"run": list(run), "env": dict(environment), "cwd": str(Path.cwd())}
        with suppress(OSError), connect(self.name) as parent:
            errors = open_log(log)
            try:
                return fork(parent, message, errors=errors)
            finally:
                os.close(errors)
        return None

    def close(self):
        """Leave it to others."""


def main():
    SharedParent.name = sys.argv.pop(1)
    sys.path[0] = str(Path.cwd())
    from edgeopt.devices import local

    local.WarmParent = SharedParent
    runpy.run_module("edgeopt", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
