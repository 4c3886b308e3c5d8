"""What a stand-in needs of the machine that runs the tests.

What is missing skips the test. With `CI=true` it fails it, so that green cannot mean that nothing was run.
"""

import functools
import os
import shutil
import subprocess

import pytest

SYSTEM_FOLDERS = "/usr/sbin:/sbin"  # not on the PATH of an ordinary user


def program(name):
    """The path of a program, or None."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}")


@functools.cache
def privileged():
    """Whether this process may make namespaces: it is root, and not in a container that forbids it."""
    if os.geteuid() != 0:
        return False
    made = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return made.returncode == 0


def require(*programs, root=False):
    """Skip or fail the test that runs now, unless all programs are there, and root's rights where they are needed."""
    missing = [name for name in programs if program(name) is None]
    if root and not privileged():
        missing.append("root")
    if missing:
        refuse(f"needs {', '.join(missing)}")


def refuse(reason):
    """Skip the test that runs now; fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
