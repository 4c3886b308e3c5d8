"""Emulates another x86 processor with qemu-user: shows the results of artifacts there, not their times.

qemu runs a Python of this machine, with its packages, and answers CPUID as the named processor would, so that runtimes
choose the same kernels as on that processor.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeopt.devices.book import SCHEME
from edgeopt.devices.local import LocalDevice
from edgeopt.errors import DeviceError, UsageError, did_you_mean, last_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.measure.facts import Facts, Health

EXAMPLE = f"{SCHEME}Haswell"
UNTIMED = "emulated processor"
PROGRAMS = ("qemu-x86_64", "qemu-x86_64-static")
OLDEST = (10, 0)
"""qemu 7.2 computes wrong results with AVX2: a float LSTM in OpenVINO had 2 dB instead of 132 dB. 10.0 is correct."""
INSTALL = (
    "Debian 13, Ubuntu 25.04 or newer: apt install qemu-user;"
    " Debian 12: apt install -t bookworm-backports qemu-user-static"
)
PROBE_S = 60.0
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LISTED = re.compile(r"^\s*(?:x86\s+)?([A-Za-z0-9][A-Za-z0-9._-]*)\b", re.MULTILINE)
_LEFT_OUT = re.compile(r"TCG doesn't support requested feature: \S*?\.((?:avx512|avx10|amx|avx-vnni)[\w-]*)")
"""Vector instructions only: without the others (`pcid`, `tsc-deadline`), programs compute the same."""


class EmulatedDevice(LocalDevice):
    """Runs scripts as `LocalDevice` does, on an emulated processor.

    Args:
        model: qemu's name for the processor: `Haswell`, `Nehalem`.
        name: Name of the device; its address if empty.

    Raises:
        UsageError: The model is not a valid processor name.
    """

    untimed = UNTIMED

    def __init__(self, model: str, name: str = "") -> None:
        super().__init__()
        if not _MODEL.fullmatch(model) or model == "help":
            raise UsageError(f"{model!r} is not a processor's name", hint=f"for instance {EXAMPLE}")
        self._model = model
        self.uri = f"{SCHEME}{model}"
        self.name = name or self.uri
        self._program, self._version = "", ""

    def connect(self) -> None:
        """Check that qemu can emulate the processor and that Python runs on it.

        Raises:
            DeviceError: qemu-user is missing or too old, or cannot emulate this processor.
            UsageError: qemu does not know the processor.
        """
        self._program, self._version = find_qemu()
        said = self._probe()
        if "unable to find CPU model" in said:
            hint = did_you_mean(self._model, known_models(self._program))
            raise UsageError(f"qemu does not know the processor {self._model!r}", hint=hint)
        if left_out := sorted(set(_LEFT_OUT.findall(said))):
            message = f"qemu cannot emulate {self._model}: it does not support {', '.join(left_out)}"
            raise DeviceError(message, hint=f"name an older processor, for instance {EXAMPLE}")

    def facts(self) -> Facts:
        """Return the facts of this machine, with the emulated processor."""
        facts = super().facts()
        # TCG, qemu's emulation, lacks an 8-bit dot product; /proc/cpuinfo describes the real processor.
        details = {**facts.details, "emulated": self._emulator, "int8_features": "none"}
        if self.name != self.uri:
            details["name"] = self.name
        return replace(facts, cpu=self._model, details=details)

    def health(self) -> Health:
        """Return the current state of this machine, marked as emulated."""
        return replace(super().health(), emulated=self._emulator)

    def warm_up(self) -> None:
        """No-op: qemu has its own thread, and a process with threads cannot be forked safely."""

    def _python(self, python: str) -> list[str]:
        """Return the command that starts Python on the emulated processor."""
        return [self._program, "-cpu", self._model, *super()._python(python)]

    @property
    def _emulator(self) -> str:
        """Name and version of the emulator."""
        return f"qemu-user {self._version}"

    def _probe(self) -> str:
        """Return the standard error of qemu from starting Python on the processor.

        Raises:
            DeviceError: Python does not run on it.
        """
        command = [self._program, "-cpu", self._model, sys.executable, "-S", "-c", "pass"]
        done = _run(command)
        if done.returncode and "unable to find CPU model" not in done.stderr:
            message = f"Python does not run on an emulated {self._model}"
            raise DeviceError(message, hint=last_words(done.stderr) or f"qemu ended with {done.returncode}")
        return done.stderr


def find_qemu() -> tuple[str, str]:
    """Return the path and the version of the qemu-user that emulates x86 processors here.

    Raises:
        DeviceError: qemu-user is missing or too old, or this is not x86-64 Linux.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        message = "qemu-user emulates x86 processors for edgeopt on x86-64 Linux only"
        raise DeviceError(message, hint="measure on a device with that processor: --device ssh://user@host")
    found = {path: _version(path) for name in PROGRAMS if (path := shutil.which(name))}
    if not found:
        raise DeviceError("qemu-user is not installed", hint=INSTALL)
    path = max(found, key=lambda path: _numbers(found[path]))
    if _numbers(found[path]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        version = f"is version {found[path]}" if found[path] else "does not report its version"
        message = f"{path} {version}; needed is {oldest} or newer, since 7.2 computes wrong results with AVX2"
        raise DeviceError(message, hint=INSTALL)
    return path, found[path]


def known_models(program: str) -> list[str]:
    """Return the processors that a qemu-user can emulate."""
    listed = _run([program, "-cpu", "help"]).stdout.partition("Recognized CPUID flags")[0]
    return [name for name in _LISTED.findall(listed) if name not in {"Available", "x86"}]


def _version(program: str) -> str:
    """Return the version of a qemu-user as text; empty if it does not report one."""
    try:
        match = re.search(r"version (\d+(?:\.\d+)+)", _run([program, "--version"]).stdout)
    except DeviceError:  # another one may work
        return ""
    return match[1] if match else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("."))) if version else ()


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run qemu and return its output.

    Raises:
        DeviceError: It cannot be started, or does not end in time.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{command[0]} did not end within {PROBE_S:g} s", hint=INSTALL) from None
    except OSError as error:
        raise DeviceError(f"{command[0]} cannot be started: {error.strerror}", hint=INSTALL) from error
