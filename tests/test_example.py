"""The example plugin: a distribution of its own, built, installed beside edgeopt's wheel, discovered and used."""

import ast
import json
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


@pytest.fixture(scope="module")
def installed(clean):
    """The clean environment with the example's wheel in it."""
    clean.pip("install", clean.wheel(EXAMPLE))
    yield clean
    clean.pip("uninstall", "--yes", "edgeopt-numpy")


@pytest.mark.slow
def test_nothing_there_comes_from_the_checkout(installed, tmp_path):
    code = "import edgeopt, edgeopt_numpy, sys; print(edgeopt.__file__, edgeopt_numpy.__file__, *sys.path)"
    _, out = installed.run(installed.python, "-c", code, cwd=tmp_path)
    assert str(EXAMPLE.parents[1]) not in out
    assert out.count(str(installed.folder)) >= 3


@pytest.mark.slow
def test_it_is_discovered(installed, tmp_path):
    code, out = installed.run("edgeopt", "plugins", "--json", "-", cwd=tmp_path)
    assert code == 0
    assert {
        "name": "numpy",
        "distribution": "edgeopt-numpy",
        "version": "0.1.0",
        "module": "edgeopt_numpy",
        "contract": 2,
        "backends": [{"name": "numpy", "unavailable": None, "environment": []}],
        "targets": ["numpy-float16", "numpy"],
        "broken": None,
    } in json.loads(out)["plugins"]


@pytest.mark.slow
def test_it_gives_the_demos_answers(installed, tmp_path):
    code, out = installed.run("edgeopt", "export", "--target", "numpy,numpy-float16", cwd=tmp_path)
    assert code == 0, out
    run = json.loads((tmp_path / "dist" / "demo" / "run.json").read_text("utf-8"))
    exact, half = run["results"][1:]
    assert exact["plugin"] == "edgeopt-numpy 0.1.0"
    assert exact["fidelity"]["top1_agreement"] == 1
    assert exact["fidelity"]["sqnr_db"] > 80
    assert half["fidelity"]["top1_agreement"] > 0.99
    assert half["artifact"]["size_bytes"] < 0.6 * exact["artifact"]["size_bytes"]
    assert sorted(file.name for file in (tmp_path / "dist" / "demo" / "numpy").iterdir()) == [
        "edgeopt.json",
        "layers.json",
        "weights.npz",
    ]


@pytest.mark.slow
def test_it_passes_its_own_tests(installed, tmp_path):
    code, out = installed.run("pytest", "-p", "no:cacheprovider", EXAMPLE / "tests", cwd=tmp_path)
    assert code == 0, out
