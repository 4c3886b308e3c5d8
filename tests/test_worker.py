"""The worker's answers, in this process: each part of an artifact is checked, and each exception has words."""

import errno
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeopt.contract import Artifact
from edgeopt.errors import ExportError, PluginError
from edgeopt.worker import NOT_MEANT, Worker, _artifact_as_json, _describe

FILE = Path("/out/a.bin")


def test_a_sound_artifact_becomes_plain_json():
    given = Artifact(FILE, (FILE,), {"a": "b", "n": np.float64(0.5), "yes": True, "big": 10**18}, ("careful",), 3)
    assert json.loads(json.dumps(_artifact_as_json(given))) == {
        "main": "/out/a.bin",
        "files": ["/out/a.bin"],
        "metadata": {"a": "b", "n": 0.5, "yes": True, "big": 10**18},
        "warnings": ["careful"],
        "calibration_feeds": 3,
        "needs": [],
        "fallback": "",
    }


def test_needs_go_along_with_what_makes_do_without_them():
    told = _artifact_as_json(Artifact(FILE, (FILE,), needs=("vnni",), fallback="reduce_range=true"))
    assert (told["needs"], told["fallback"]) == (["vnni"], "reduce_range=true")


def test_a_flood_of_warnings_is_cut():
    told = _artifact_as_json(Artifact(FILE, (FILE,), warnings=tuple(map(str, range(2000)))))["warnings"]
    assert told == [*map(str, range(20)), "and 1,980 warnings more"]


class Speechless:
    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"main": None}, "Artifact.main holds None of type NoneType; wanted a path"),
        ({"needs": ("sse9",)}, "Artifact.needs holds sse9 of type str; wanted one of dotprod, i8mm, vnni"),
        ({"needs": ([],)}, "Artifact.needs holds [] of type list; wanted a text"),
        ({"needs": "vnni"}, "Artifact.needs holds vnni of type str; wanted a tuple of texts"),
        ({"fallback": "a b"}, "Artifact.fallback holds a b of type str; wanted a setting as --set takes it"),
        ({"fallback": None}, "Artifact.fallback holds None of type NoneType; wanted a text"),
        ({"files": "a.bin"}, "Artifact.files holds a.bin of type str; wanted a tuple of paths"),
        ({"files": (5,)}, "Artifact.files holds 5 of type int; wanted a path"),
        ({"files": None}, "Artifact.files holds None of type NoneType; wanted a tuple of paths"),
        ({"warnings": "abc"}, "Artifact.warnings holds abc of type str; wanted a tuple of texts"),
        ({"warnings": (Speechless(),)}, "Artifact.warnings holds <Speechless whose text fails with"),
        ({"calibration_feeds": "many"}, "Artifact.calibration_feeds holds many of type str; wanted a whole number"),
        ({"calibration_feeds": True}, "Artifact.calibration_feeds holds True of type bool; wanted a whole number"),
        ({"calibration_feeds": np.int64(3)}, "Artifact.calibration_feeds holds 3 of type int64; wanted a whole"),
        ({"calibration_feeds": -1}, "Artifact.calibration_feeds holds -1 of type int; wanted a whole number, 0 or"),
        ({"metadata": ["a"]}, "Artifact.metadata holds ['a'] of type list; wanted a mapping"),
        ({"metadata": {3: "x"}}, "Artifact.metadata holds 3 of type int; wanted a text"),
        ({"metadata": {"k": np.int64(3)}}, "Artifact.metadata['k'] holds 3 of type int64; wanted a text, a number or"),
        ({"metadata": {"k": float("nan")}}, "Artifact.metadata['k'] holds nan of type float; wanted a finite number"),
        ({"metadata": {"k": 10**400}}, "Artifact.metadata['k'] holds 1000000000000000000000000000000000000000 of"),
    ],
)
def test_each_part_that_is_not_what_the_contract_says_is_the_plugins_mistake(change, message):
    with pytest.raises(PluginError) as caught:
        _artifact_as_json(Artifact(**{"main": FILE, "files": (FILE,), **change}))
    assert caught.value.message.startswith(message)


class OwnError(ExportError):
    def __init__(self):
        pass  # and forgets its base


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (ExportError("no", hint="do"), "export", "no", "do"),
        (SystemExit(0), "export", "SystemExit: 0", NOT_MEANT),
        (ValueError("a \x1b[1mbold\x1b[0m \udcff"), "export", "ValueError: a bold \\udcff", NOT_MEANT),
        (OwnError(), "export", "OwnError", NOT_MEANT),
        (OSError(errno.ENOSPC, "full"), "bad-input", "the disk is full", None),
        (RuntimeError("writing: No space left on device"), "bad-input", "the disk is full", None),
    ],
)
def test_each_exception_has_a_kind_and_words(error, kind, message, hint):
    described = _describe(error)
    assert (described["kind"], described["message"]) == (kind, message)
    assert hint is None or described["hint"] == hint


@pytest.fixture
def worker():
    """A worker whose standard output and error are this process's again after the test."""
    kept = [(number, os.dup(number)) for number in (1, 2)]
    yield Worker(None)
    for number, copy in kept:
        os.dup2(copy, number)
        os.close(copy)


def test_a_log_that_cannot_be_written_is_bad_input_and_no_end(worker, tmp_path):
    answer = worker.answer({"op": "open", "log": str(tmp_path)})
    assert answer["error"]["kind"] == "bad-input"
    assert answer["error"]["message"] == f"the log {tmp_path} cannot be written: Is a directory"


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_does_not_hide_the_error(worker, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", Full())
    answer = worker.answer({"op": "nonsense", "log": str(tmp_path / "log")})
    assert answer["error"]["message"] == "KeyError: 'nonsense'"
