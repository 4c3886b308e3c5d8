"""Checks of a backend's listing and options, before it does any work."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from edgeopt.errors import BadInputError, PluginError, UsageError
from edgeopt.options import check_options_class, describe, fill
from edgeopt.targets import read_target
from edgeopt.testing.guide import Section, refuse, require
from edgeopt.testing.subject import NOT_INSTALLED, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeopt.options import OptionField

HEAVY = {"PIL", "cv2", "h5py", "jax", "matplotlib", "numpy", "onnx", "openvino", "pandas", "scipy", "sklearn", "torch"}
HEAVY |= {"ai_edge_litert", "keras", "litert_quantizer", "onnxruntime", "tensorflow", "tf_keras"}
"""Modules that take long to import."""
LISTING_CPU_S = 0.5
"""Maximum CPU time for listing one backend, in seconds."""
LISTING_TIMEOUT_S = 120.0
LONGEST_SUMMARY = 100
PROBE = """
import json, sys, time
from importlib import import_module
from edgeopt.discovery import backends_of
from edgeopt.options import describe
known, begin = set(sys.modules), time.process_time()
found = {backend.name: backend for backend in backends_of(import_module(sys.argv[1]), sys.argv[1])}
describe(found[sys.argv[2]].Options)
try:
    found[sys.argv[2]].unavailable()
except Exception:
    pass
imported = sorted({name.partition(".")[0] for name in set(sys.modules) - known})
print(json.dumps({"imported": imported, "cpu_s": time.process_time() - begin}))
"""
"""The steps of `edgeopt backends` for one plugin, run in a fresh process."""


class ListingChecks(Subject):
    """Checks that do not need a model."""

    def test_an_installed_plugin_gives_it(self) -> None:
        """The plugin is found by edgeopt itself."""
        plugin = self.lab.registered.plugin
        expected = f"an installed distribution whose entry point in the group edgeopt gives {self.backend.name}"
        found = plugin.problem or "no installed plugin gives it; while you write it: pip install -e ."
        require(plugin.distribution != NOT_INSTALLED, Section.BACKEND, expected, found)

    def test_its_summary_is_one_line(self) -> None:
        """The summary fits into a table."""
        summary = self.backend.summary
        one_line = bool(summary.strip()) and "\n" not in summary and len(summary) <= LONGEST_SUMMARY
        expected = f"a summary of one line, of {LONGEST_SUMMARY} characters at most"
        require(one_line, Section.BACKEND, expected, repr(summary))

    def test_listing_it_is_cheap_and_imports_nothing_heavy(self) -> None:
        """Listing the plugin, including its availability, is fast."""
        module = self.lab.registered.plugin.module or self.backend.__module__
        path = os.pathsep.join(entry for entry in sys.path if entry)
        done = subprocess.run(
            [sys.executable, "-c", PROBE, module, self.backend.name],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=LISTING_TIMEOUT_S,
            check=False,
        )
        expected = "heavy imports inside the functions that need them, so that edgeopt backends is quick"
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        require(done.returncode == 0, Section.BACKEND, expected, f"listing it fails: {last}")
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        heavy = sorted(HEAVY.intersection(said["imported"]))
        require(not heavy, Section.BACKEND, expected, f"listing it imports {', '.join(heavy)}")
        slow = f"listing it takes {said['cpu_s']:.1f} s; {LISTING_CPU_S} s are allowed"
        require(said["cpu_s"] <= LISTING_CPU_S, Section.BACKEND, expected, slow)

    def test_it_says_whether_it_is_available(self) -> None:
        """`unavailable` returns None or a reason."""
        expected = "unavailable() gives None, or in one line why the backend cannot work here"
        try:
            reason: object = self.backend.unavailable()
        except Exception as error:  # noqa: BLE001 - third-party code may raise anything
            refuse(Section.BACKEND, expected, f"it raises {type(error).__name__}: {error}")
        said_why = reason is None or (isinstance(reason, str) and reason.strip() != "" and "\n" not in reason)
        require(said_why, Section.BACKEND, expected, f"it gives {reason!r}")

    def test_its_options_are_described(self) -> None:
        """Every option has a help text."""
        silent = [option.name for option in self._options() if not option.help.strip()]
        expected = 'metadata={"help": ...} for every option, as edgeopt backends shows it'
        require(not silent, Section.OPTIONS, expected, f"no help for {', '.join(silent)}")

    def test_its_options_have_sound_defaults(self) -> None:
        """Every option has a default that is one of its accepted values."""
        expected = "a frozen dataclass in which every field has a default of the type that it declares"
        try:
            check_options_class(self.backend.Options)
        except PluginError as error:
            refuse(Section.OPTIONS, expected, error.message)
        defaults = {option.name: option.default for option in self._options()}
        try:
            filled = fill(self.backend.Options, defaults, origin="its defaults")
        except UsageError as error:
            refuse(Section.OPTIONS, expected, error.message)
        changed = [name for name, value in defaults.items() if getattr(filled, name) != value]
        require(not changed, Section.OPTIONS, expected, f"its own defaults are changed: {', '.join(changed)}")

    def test_its_options_are_validated(self) -> None:
        """Every declared value of an option is accepted, and any other is rejected."""
        expected = "every declared value alone makes an instance; what does not go together, export refuses"
        for option in self._options():
            for value in option.choices or (option.default,):
                problem = self._problem({option.name: value})
                found = f"{option.name}={value!r} raises {type(problem).__name__}: {problem}"
                require(problem is None, Section.OPTIONS, expected, found)
            self._must_refuse(option.name, object())
        self._must_refuse("no_such_option", 1)

    def test_its_target_files_are_sound(self) -> None:
        """The targets that the plugin ships can be used."""
        files = self.lab.registered.plugin.target_files
        if not files:
            pytest.skip("the plugin brings no target files")
        expected = "target files that name a backend and options that it has"
        for file in files:
            problem = self._problem_of_target(file)
            require(problem is None, Section.TARGETS, expected, str(problem))

    def _options(self) -> list[OptionField]:
        """Return the options; skip the check if they cannot be read."""
        if not dataclasses.is_dataclass(self.backend.Options):
            pytest.skip("its Options is no dataclass, which another check reports")
        return describe(self.backend.Options)

    def _must_refuse(self, name: str, value: object) -> None:
        problem = self._problem({name: value})
        expected = f"an error that names the valid options for {name}={type(value).__name__}"
        found = "it is taken" if problem is None else f"{type(problem).__name__}: {problem}"
        require(isinstance(problem, UsageError), Section.OPTIONS, expected, found)

    def _problem(self, values: Mapping[str, Any]) -> Exception | None:
        """Return the error that the options raise for `values`, or None."""
        try:
            fill(self.backend.Options, values, origin="a target")
        except Exception as error:  # noqa: BLE001 - third-party code may raise anything
            return error
        return None

    def _problem_of_target(self, file: Path) -> Exception | None:
        """Return the error in a target file, or None; options for another backend are not checked."""
        try:
            target = read_target(file)
        except BadInputError as error:
            return error
        return self._problem(target.options) if target.backend == self.backend.name else None
