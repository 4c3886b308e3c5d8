"""The example plugin: a distribution of its own, built, installed beside edgeopt's wheel, discovered and used."""

import ast
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "edgeopt-numpy"
SOURCES = sorted((EXAMPLE / "src").rglob("*.py"))


def imported(file):
    """The modules that a file imports, in its functions too."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_it_imports_the_api_only(file):
    ours = {name for name in imported(file) if name.partition(".")[0] == "edgeopt"}
    assert ours <= {"edgeopt.api"}


def test_its_runner_needs_numpy_alone():
    names = {name.partition(".")[0] for name in imported(EXAMPLE / "src" / "edgeopt_numpy" / "runner.py")}
    assert names - set(sys.stdlib_module_names) == {"numpy"}
