"""The environment of a backend whose requirements conflict with edgeopt's own.

It is a virtual environment in the user's cache, made only when the user asks for it. Of edgeopt's own environment, it
sees only two packages, linked into a separate folder: edgeopt itself, of which the worker needs only the parts that run
on the standard library, and the plugin.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CACHE_VARIABLE = "EDGEOPT_CACHE"
ALWAYS = ("numpy>=1.26", "packaging>=24", "pluggy>=1.6")
"""Requirements of the worker, the harness and the contract in every environment."""
BRIDGE, COMPLETE = "bridge", "edgeopt-environment.json"


@dataclass(frozen=True, slots=True)
class OwnEnvironment:
    """The virtual environment of one backend.

    Args:
        name: The backend's name.
        module: The module of its plugin.
        requirements: Packages to install, in pip's format.
    """

    name: str
    module: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Its folder; other requirements or another Python version mean another folder."""
        wanted = json.dumps([sorted(self.wanted), sys.version_info[:2]])
        return cache_folder() / "environments" / f"{self.name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"

    @property
    def wanted(self) -> tuple[str, ...]:
        """All requirements that are installed into it."""
        return (*self.requirements, *ALWAYS)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def is_ready(self) -> bool:
        """Whether it was made completely."""
        return (self.folder / COMPLETE).is_file()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables for a process in it, without the user's own Python settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**kept, "PYTHONPATH": str(self.folder / BRIDGE), "PYTHONNOUSERSITE": "1"}

    def versions(self) -> Mapping[str, str]:
        """Return the versions of all distributions in it, by name."""
        places = [str(place) for place in self.folder.glob("lib/python*/site-packages")]
        return {found.name: found.version for found in metadata.distributions(path=places)}

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make the environment, or make it anew.

        Args:
            say: Called with each progress message.

        Raises:
            UnavailableError: It cannot be made; with pip's message.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            say(f"making {self.folder}")
            _run([sys.executable, "-m", "venv", str(self.folder)])
            say(f"installing {', '.join(self.wanted)}")
            _run([str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *self.wanted])
            self._link()
            (self.folder / COMPLETE).write_text(json.dumps(dict(self.versions()), indent=1) + "\n", "utf-8")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _link(self) -> None:
        """Link edgeopt and the plugin's package into the folder that the environment sees."""
        bridge = self.folder / BRIDGE
        bridge.mkdir()
        for name in ("edgeopt", self.module.partition(".")[0]):
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None or not spec.submodule_search_locations:
                raise UnavailableError(
                    f"{name} is not a package in a folder, so its runner could not be found from another environment",
                    hint="tell its authors: a plugin with an environment of its own is a package",
                )
            (bridge / name).symlink_to(Path(spec.origin).parent)


def cache_folder() -> Path:
    """Return the folder for files that can be made again: `EDGEOPT_CACHE`, else the system's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("edgeopt")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
        raise UnavailableError(
            f"the environment cannot be made: {reason.strip()[:300]}",
            hint="does this machine reach a package registry, and has Python its venv module?",
        )
