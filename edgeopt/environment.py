"""Reports the state of this machine and Python environment, missing parts, and commands that add them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from edgeopt.errors import ExitCode
from edgeopt.measure.facts import GOVERNOR_COMMAND, about_governor, find_facts, find_health, find_runtimes
from edgeopt.registry import find_backends
from edgeopt.requirements import unmet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeopt.measure.facts import Facts, Health

GPU_LIMIT_S = 120.0
"""TensorFlow starts slowly from a cold disk; beyond this it counts as hanging."""
USER_EXTRAS = ("legacy",)
"""Extras for users; the others are for developers of edgeopt."""
LITTLE_BYTES = 2 * 10**9
_ASK_TENSORFLOW = """
import json, tensorflow
gpus = tensorflow.config.list_physical_devices("GPU")
details = tensorflow.config.experimental.get_device_details
print(json.dumps([details(gpu).get("device_name", gpu.name) for gpu in gpus]))
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A distribution that edgeopt needs or, if `extra` is set, an optional one from that extra."""

    name: str
    wanted: str
    """In pip's format, for instance `rich>=14`."""
    version: str | None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that TensorFlow and the NVIDIA driver detect, and why TensorFlow could not be asked."""

    tensorflow: tuple[str, ...] = ()
    driver: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose free disk space matters; `used_bytes` is None if not measured."""

    purpose: str
    path: str
    free_bytes: int
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A missing part or possible improvement, and the command that helps; `code` is 0 for advice."""

    text: str
    command: str = ""
    code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that `edgeopt doctor` reports."""

    edgeopt: str
    executable: str
    facts: Facts
    health: Health
    packages: tuple[Package, ...]
    gpus: Gpus
    cpu_caches: tuple[str, ...]
    folders: tuple[Folder, ...]
    findings: tuple[Finding, ...] = field(default=())


def examine(gpu_limit_s: float = GPU_LIMIT_S) -> Environment:
    """Return the report; starts TensorFlow once, in a child process, to list its GPUs."""
    packages, gpus, folders = tuple(_packages()), _gpus(gpu_limit_s), tuple(_folders())
    health = find_health()
    findings = (*_missing(packages), *_plugins(), *_about_gpus(gpus), *_about_machine(health, folders))
    return Environment(
        edgeopt=metadata.version("edgeopt"),
        executable=sys.executable,
        facts=find_facts("local"),
        health=health,
        packages=packages,
        gpus=gpus,
        cpu_caches=tuple(_cpu_caches()),
        folders=folders,
        findings=findings,
    )


def _packages() -> Iterator[Package]:
    """Yield the packages that edgeopt's own metadata requires, the extras last."""
    found: dict[str, Package] = {}
    for extra in ("", *USER_EXTRAS):
        for requirement in map(Requirement, metadata.requires("edgeopt") or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                version = find_runtimes([requirement.name]).get(requirement.name)
                wanted = f"{requirement.name}{requirement.specifier}"
                found.setdefault(requirement.name, Package(requirement.name, wanted, version, extra))
    return iter(sorted(found.values(), key=lambda package: (package.extra, package.name)))


def _missing(packages: Sequence[Package]) -> Iterator[Finding]:
    """Yield a finding for every package that is missing or too old."""
    for package in packages:
        install = f"{sys.executable} -m pip install '{package.wanted}'"
        if package.version is None and package.extra:
            text = f"{package.name} is not installed; only models from Keras 2 need it"
            yield Finding(text, f"{sys.executable} -m pip install 'edgeopt[{package.extra}]'")
        elif package.version is None:
            yield Finding(f"{package.name} is not installed", install, ExitCode.UNAVAILABLE)
        elif unmet([package.wanted], {package.name: package.version}):
            yield Finding(f"{package.name} {package.version} is too old", install, ExitCode.UNAVAILABLE)


def _plugins() -> Iterator[Finding]:
    """Yield a finding for every broken plugin, and for every backend that cannot work here."""
    registry = find_backends()
    for name, registered in registry.backends.items():
        if reason := registered.why_not():
            yield Finding(f"the backend {name} cannot work here: {reason}")
    for plugin, reason in registry.broken:
        text = f"the plugin {plugin.name} of {plugin.origin} is broken: {reason}"
        command = f"{sys.executable} -m pip install --upgrade {plugin.distribution}"
        yield Finding(text, command, ExitCode.BROKEN_PLUGIN)


def _gpus(limit_s: float) -> Gpus:
    """Ask the driver and, in a child process since it may abort or hang, TensorFlow."""
    driver = tuple(_lines(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    argv = [sys.executable, "-c", _ASK_TENSORFLOW]
    try:
        asked = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s, env=environment, check=True)
        return Gpus(tuple(json.loads(asked.stdout.splitlines()[-1])), driver)
    except subprocess.TimeoutExpired:
        return Gpus((), driver, f"TensorFlow gave no answer within {limit_s:.0f} s")
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return Gpus((), driver, f"TensorFlow does not start: {last}")
    except (OSError, ValueError, IndexError) as error:
        return Gpus((), driver, f"TensorFlow could not be asked: {error}")


def _lines(argv: Sequence[str]) -> list[str]:
    """Return the lines that a program prints; empty if it does not exist or fails."""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[:-1]
    return []


def _about_gpus(gpus: Gpus) -> Iterator[Finding]:
    """Yield a finding if TensorFlow fails to start or cannot use an available GPU."""
    if gpus.problem:
        command = f"{sys.executable} -c 'import tensorflow'"
        yield Finding(f"{gpus.problem}; this shows why", command, ExitCode.UNAVAILABLE)
    elif gpus.driver and not gpus.tensorflow:
        text = f"the driver sees {gpus.driver[0]}, but TensorFlow sees no GPU"
        yield Finding(text, f"{sys.executable} -m pip install 'tensorflow[and-cuda]'")


def _about_machine(health: Health, folders: Sequence[Folder]) -> Iterator[Finding]:
    """Yield causes of noisy measurements or failing exports."""
    if text := about_governor(health.governor):
        yield Finding(text, GOVERNOR_COMMAND)
    for folder in folders:
        if folder.free_bytes < LITTLE_BYTES:
            yield Finding(f"little room is left in {folder.path}; exports may fail")


def _cpu_caches() -> Iterator[str]:
    """Yield the caches of the first core, for instance `L2 1024K`."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with suppress(OSError):
            level, kind, size = ((index / name).read_text("ascii").strip() for name in ("level", "type", "size"))
            yield f"L{level}{ {'Data': 'd', 'Instruction': 'i'}.get(kind, '') } {size}"


def _folders() -> Iterator[Folder]:
    """Yield the folders that edgeopt writes to, and Keras's folder of downloaded weights."""
    yield Folder("output", str(Path.cwd()), shutil.disk_usage(Path.cwd()).free)
    temporary = tempfile.gettempdir()
    yield Folder("temporary files", temporary, shutil.disk_usage(temporary).free)
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    if keras.is_dir():
        used = sum(file.stat().st_size for file in keras.rglob("*") if file.is_file())
        yield Folder("weights that Keras downloaded", str(keras), shutil.disk_usage(keras).free, used)
