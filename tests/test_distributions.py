"""Plugins of others, really installed beside edgeopt's wheel: the guide's, one that `plugins new` writes, the example.

All share one clean environment, and one run of the conformance kit at the end.
"""

import json
import re

import pytest

from tests.test_example import EXAMPLE
from tests.test_guide import commands, files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    """A folder with every file of the guide."""
    folder = tmp_path_factory.mktemp("guide")
    for path, text in files().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def new(clean, tmp_path_factory):
    """The folder in which `edgeopt plugins new` was called, and the commands that it told to type next."""
    folder = tmp_path_factory.mktemp("new")
    code, out = clean.run("edgeopt", "plugins", "new", "door-bell", "--json", "-", cwd=folder)
    assert code == 0, out
    return folder, json.loads(out)["next"]


@pytest.fixture(scope="module")
def example(clean):
    """The clean environment with the example's wheel in it."""
    clean.pip("install", clean.wheel(EXAMPLE))
    return clean


def typed(clean, command, folder):
    """What a command prints; of the kit, which runs once for all, it only shows that the checks are found."""
    is_kit = "pytest" in command.replace("-m ", "").split()[:2]
    command = f"{command} --collect-only --quiet" if is_kit else command
    code, out = clean.run("sh", "-euc", command, cwd=folder)
    assert code == 0, f"{command}\n{out}"
    assert not is_kit or "::test_it_synchronises" in out
    return out


def test_a_reader_of_the_guide_who_types_all_of_it_has_a_plugin(clean, guide):
    said = {command: typed(clean, command, guide) for command in commands()}
    assert "zipped (edgeopt-zipped 0.1.0, contract 2) ready\n" in said["edgeopt plugins"]
    assert "  targets  zipped-lzma, zipped\n" in said["edgeopt plugins"]
    packed = [guide / "dist" / "demo" / target / "model.zip" for target in ("zipped", "zipped-lzma")]
    assert packed[1].stat().st_size < packed[0].stat().st_size
    assert "pytest" in said
    assert [wheel.name for wheel in (guide / "dist").glob("*.whl")] == ["edgeopt_zipped-0.1.0-py3-none-any.whl"]


def test_a_new_plugin_works_without_a_change(clean, new):
    folder, following = new
    assert any("pytest" in command for command in following)
    for command in following:
        typed(clean, command, folder)
    run = json.loads((folder / "dist" / "demo" / "run.json").read_text("utf-8"))
    (result,) = run["results"][1:]
    assert (result["target"], result["plugin"], result["error"]) == ("door-bell", "edgeopt-door-bell 0.1.0", None)
    assert result["fidelity"]["top1_agreement"] == 1
    code, out = clean.run("edgeopt", "export", "--target", "door-bell", "--set", "xla=true", cwd=folder)
    assert code == 0, out
    code, out = clean.run("edgeopt", "plugins", "new", "door-bell", "--dir", "elsewhere", cwd=folder)
    assert (code, out.splitlines()[0]) == (
        2,
        "error: the name 'door-bell' is taken by a backend of edgeopt-door-bell 0.1.0",
    )


def test_nothing_there_comes_from_the_checkout(example, tmp_path):
    code = "import edgeopt, edgeopt_numpy, sys; print(edgeopt.__file__, edgeopt_numpy.__file__, *sys.path)"
    _, out = example.run(example.python, "-c", code, cwd=tmp_path)
    assert str(EXAMPLE.parents[1]) not in out
    assert out.count(str(example.folder)) >= 3


def test_the_example_is_discovered(example, tmp_path):
    code, out = example.run("edgeopt", "plugins", "--json", "-", cwd=tmp_path)
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


def test_the_example_gives_the_demos_answers(example, tmp_path):
    code, out = example.run("edgeopt", "export", "--target", "numpy,numpy-float16", cwd=tmp_path)
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


def test_all_pass_their_tests(example, guide, new, tmp_path):
    """In one process, which makes the kit's models once; their files have the same names."""
    tests = [guide / "tests", new[0] / "edgeopt-door-bell" / "tests", EXAMPLE / "tests"]
    once = ["-p", "no:cacheprovider", "--import-mode=importlib", "-rA"]
    code, out = example.run("pytest", *once, *tests, cwd=tmp_path)
    assert code == 0, out
    for name in ("Zipped", "DoorBell", "Numpy"):
        assert re.search(rf"^PASSED \S+::Test{name}::test_it_agrees_with_the_source_on_the_demo$", out, re.MULTILINE), (
            out
        )
