"""`check_backend` in an author's own test file."""

import os
import subprocess
import sys

import pytest

from edgeopt.errors import UsageError
from edgeopt.testing import BackendChecks, check_backend
from edgeopt.testing.subject import NOT_INSTALLED, find_registered
from edgeopt_tflite.backend import Tflite
from tests.testing.toys import ABSENT, Bad, install_toy

TEST_FILE = """
from edgeopt.testing import check_backend
from toy_new import Toy

TestNew = check_backend(Toy, min_agreement=0.9)
"""


@pytest.fixture
def author(tmp_path):
    """A checkout whose plugin is not installed yet; runs pytest in it."""
    install_toy(tmp_path, "toy-new", Bad("", "", "", ABSENT))
    next(tmp_path.glob("*.dist-info/entry_points.txt")).unlink()
    (tmp_path / "test_new.py").write_text(TEST_FILE)

    def run(*arguments):
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout

    return run


def test_pytest_reads_as_a_checklist(author):
    lines = [line for line in author("-v").splitlines() if line.startswith("test_new.py::TestNew::test_")]
    assert len(lines) == 28
    assert lines[1].startswith("test_new.py::TestNew::test_its_summary_is_one_line PASSED")
    assert lines[8].startswith("test_new.py::TestNew::test_it_exports_the_demo SKIPPED")
    names = [line.partition("::test_")[2].partition(" ")[0] for line in lines]
    assert names[8:13] == [
        "it_exports_the_demo",
        "it_lists_every_file",
        "it_writes_only_inside_its_folder",
        "it_works_with_any_letters_in_paths",
        "it_writes_the_same_bytes_twice",
    ]


@pytest.mark.slow
def test_a_plugin_that_is_not_installed_fails_that_check_only(author):
    out = author("-q")
    assert "1 failed" in out
    assert "expected: an installed distribution whose entry point in the group edgeopt gives toy-new" in out
    assert "found: no installed plugin gives it; while you write it: pip install -e ." in out
    assert "Traceback" not in out


def test_the_class_is_made_from_what_it_was_told():
    made = check_backend(Tflite, min_agreement=0.5, varies=["a/*.bin"], options={"quantization": "int8"}, timeout_s=9)
    assert issubclass(made, BackendChecks)
    assert (made.__name__, made.__module__) == ("TestTflite", __name__)
    assert (made.min_agreement, made.varies, made.options, made.timeout_s) == (
        0.5,
        ("a/*.bin",),
        {"quantization": "int8"},
        9,
    )


def test_a_backend_is_found_with_its_plugin():
    assert find_registered(Tflite).plugin.name == "tflite"


def test_a_backend_without_a_plugin_is_told_as_that():
    stranger = type("Stranger", (Tflite,), {"name": "stranger", "__module__": __name__})
    plugin = find_registered(stranger).plugin
    assert plugin.distribution == NOT_INSTALLED
    assert plugin.problem == f"neither {__name__} nor a package that it lies in has the hook edgeopt_backends"


def test_a_mistyped_option_is_an_error_at_once():
    with pytest.raises(UsageError, match="unknown option 'quantisation'"):
        check_backend(Tflite, options={"quantisation": "int8"})
