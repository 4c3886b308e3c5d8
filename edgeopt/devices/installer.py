"""Makes a Python environment on a device and installs into it: one file that runs there, the same bytes everywhere.

It needs only Python 3.9 and the standard library. Requests and answers are lines of JSON on standard input and output:

    make      folder, final, pip   -> python: makes an environment in `folder` that will lie in `final`; `pip` is the
                                      wheel of pip, or null for the one that comes with this Python
    install   arguments            -> ok, said: runs `pip install` with these arguments in it
    finish    about                -> python: replaces an older one with it, and stores `about` in a file there
    drop      folders              -> removes them
    about     final                -> about: the contents of that file; null if it is missing

Without the module `venv`, the environment is a folder of packages and a `python` that finds them. If a request fails,
the answer has the key `error`, with the reason.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from typing import Any

COMPLETE = "edgeopt-environment.json"
"""The file that marks an environment as edgeopt's, and as complete."""
SITE, PYTHON = "site", os.path.join("bin", "python")  # noqa: PTH118
MOST_SAID = 2000


class Environment:
    """An environment in the making."""

    def __init__(self, folder: str, final: str, pip: str | None) -> None:
        self._folder, self._final = folder, final
        shutil.rmtree(folder, ignore_errors=True)
        self.python = os.path.join(folder, PYTHON)  # noqa: PTH118
        self._pip = [sys.executable, "-m", "pip"] if pip is None else [sys.executable, f"{pip}/pip"]
        self._options: list[str] = []
        try:
            import venv
        except ImportError:
            self._make_folder()
            return
        venv.EnvBuilder(symlinks=True, with_pip=pip is None).create(folder)
        self._pip[0] = self.python

    def install(self, arguments: list[str]) -> dict[str, Any]:
        """Run `pip install`; its temporary files lie beside the environment, not in memory."""
        scratch = self._folder + ".tmp"
        os.makedirs(scratch, exist_ok=True)  # noqa: PTH103
        argv = [*self._pip, "install", "--only-binary=:all:", "--no-compile", *self._options, *arguments]
        settings = {"TMPDIR": scratch, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        settings.update({"PIP_NO_INPUT": "1", "PIP_USER": "0", "PIP_ROOT_USER_ACTION": "ignore"})
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings},
            check=False,
        )
        shutil.rmtree(scratch, ignore_errors=True)
        return {"ok": done.returncode == 0, "said": done.stdout.decode("utf-8", "replace")[-MOST_SAID:]}

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Move the environment into place and remove an older one."""
        with open(os.path.join(self._folder, COMPLETE), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
            json.dump(about, file)
        old = self._final + ".old"
        shutil.rmtree(old, ignore_errors=True)
        if os.path.exists(self._final):  # noqa: PTH110
            os.rename(self._final, old)  # noqa: PTH104
        os.rename(self._folder, self._final)  # noqa: PTH104
        shutil.rmtree(old, ignore_errors=True)
        return {"python": os.path.join(self._final, PYTHON)}  # noqa: PTH118

    def _make_folder(self) -> None:
        """Make a folder of packages, and a `python` that finds them before and after the move."""
        site = os.path.join(self._folder, SITE)  # noqa: PTH118
        os.makedirs(site)  # noqa: PTH103
        os.makedirs(os.path.dirname(self.python))  # noqa: PTH103, PTH120
        places = ":".join((os.path.join(self._final, SITE), site))  # noqa: PTH118
        with open(self.python, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f'#!/bin/sh\nPYTHONPATH={shlex.quote(places)} exec {shlex.quote(sys.executable)} "$@"\n')
        os.chmod(self.python, 0o755)  # noqa: PTH101, S103
        self._options = ["--target", site, "--upgrade"]


def about(final: str) -> Any:
    """Return the stored `about` of an environment, None if it is missing or incomplete."""
    try:
        with open(os.path.join(final, COMPLETE), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            return json.load(file)
    except (OSError, ValueError):
        return None


def main() -> None:
    """Answer requests until the input ends."""
    made: Environment | None = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if message["op"] == "about":
                said: dict[str, Any] = {"about": about(message["final"])}
            elif message["op"] == "drop":
                said = {}
                for folder in message["folders"]:
                    shutil.rmtree(folder, ignore_errors=True)
            elif message["op"] == "make":
                made = Environment(message["folder"], message["final"], message["pip"])
                said = {"python": made.python}
            elif made is None:
                said = {"error": "nothing is made yet"}
            elif message["op"] == "install":
                said = made.install(message["arguments"])
            else:
                said = made.finish(message["about"])
        except Exception as error:  # noqa: BLE001 - the host reports it
            said = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
