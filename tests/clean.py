"""A clean environment: edgeopt from its wheel, as a user has it, and nothing of the checkout on any path."""

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeopt.testing.bare import closure

ROOT = Path(__file__).resolve().parents[1]


def link_or_copy(file, place):
    """Make a file appear at a second place; what is gone, as compiled files may be, is left out."""
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        try:
            os.link(file, place)
        except FileExistsError:
            raise
        except OSError:  # another file system
            shutil.copy2(file, place)


@dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment, and how a user works in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @classmethod
    def make(cls, folder):
        made = cls(folder)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        made.link(["edgeopt"])
        made.pip("install", made.wheel(ROOT), "pytest>=8.3")
        return made

    def link(self, requirements):
        """Link what these distributions need from the environment of the tests: installing TensorFlow takes a minute.

        pip then installs what is missing, and refuses what does not meet the requirements. That a new user can install
        everything is seen elsewhere, by the stages of `.ci/run` that run the README's commands.
        """
        (site,) = self.folder.glob("venv/lib/python3.*/site-packages")
        for name, distribution in closure(requirements).items():
            for file in distribution.files if name != "edgeopt" else ():
                if file.parts[0] != "..":
                    place = site / file
                    place.parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(distribution.locate_file(file), place)

    def wheel(self, source) -> Path:
        """Build the wheel of a distribution, from a copy of its folder, and return it."""
        copy = self.folder / "sources" / source.name
        skipped = shutil.ignore_patterns(".*", "__pycache__", "dist", "build", "tests", "docs", "benchmarks")
        shutil.copytree(source, copy, ignore=skipped)
        wheels = self.folder / "wheels" / source.name
        self.pip("wheel", "--no-deps", "--wheel-dir", wheels, copy)
        (wheel,) = wheels.glob("*.whl")
        return wheel

    def pip(self, *arguments):
        code, out = self.run(self.python, "-m", "pip", "--disable-pip-version-check", *arguments, cwd=self.folder)
        assert code == 0, out

    def run(self, *command, cwd, timeout=1800):
        """Exit code, and everything that a command printed."""
        foreign = ("PYTHON", "EDGEOPT", "PYTEST", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        environment |= {"PATH": f"{self.python.parent}:{os.environ['PATH']}", "COLUMNS": "100"}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout
