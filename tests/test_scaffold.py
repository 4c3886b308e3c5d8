"""A new plugin: every name in it follows from one, its files are sound, and it works without a change."""

import ast
import resource
import sys
from importlib.metadata import version
from string import Template

import pytest

from edgeopt.errors import BadInputError, UsageError
from edgeopt.scaffold.distribution import FILES, TEMPLATES, Names, write_distribution

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_distribution("door-bell2", tmp_path_factory.mktemp("new"))


def read(written, path):
    return (written.folder / path).read_text("utf-8")


@pytest.mark.parametrize("given", ["door-bell2", "edgeopt-door-bell2"])
def test_all_names_follow_from_one(given, tmp_path):
    names = write_distribution(given, tmp_path).names
    assert (names.backend, names.distribution) == ("door-bell2", "edgeopt-door-bell2")
    assert (names.package, names.stem) == ("edgeopt_door_bell2", "DoorBell2")


def test_every_file_is_there_and_filled(written):
    found = [file.relative_to(written.folder).as_posix() for file in written.folder.rglob("*") if file.is_file()]
    assert sorted(found) == sorted(written.files)
    assert len(found) == len(FILES) == len(list(TEMPLATES.iterdir()))
    for path in found:
        text = read(written, path)
        assert text.endswith("\n")
        assert Template(text).safe_substitute() == text.replace("$$", "$")  # what is left belongs to the workflow
    assert "python-version: ${{ matrix.python }}" in read(written, ".github/workflows/test.yml")


def test_backend_and_runner_are_under_60_lines(written):
    package = "src/edgeopt_door_bell2"
    assert sum(len(read(written, f"{package}/{name}").splitlines()) for name in ("backend.py", "runner.py")) < 60


def test_its_python_is_sound(written):
    for path in written.files:
        if path.endswith(".py"):
            assert max(map(len, read(written, path).splitlines())) <= 120
            ast.parse(read(written, path), feature_version=(3, 10))


def test_its_distribution_is_sound(written):
    project = tomllib.loads(read(written, "pyproject.toml"))["project"]
    assert project["name"] == "edgeopt-door-bell2"
    assert project["dependencies"] == [f"edgeopt>={version('edgeopt')}"]
    assert project["entry-points"] == {"edgeopt": {"door-bell2": "edgeopt_door_bell2"}}
    target = tomllib.loads(read(written, "src/edgeopt_door_bell2/targets/door-bell2.toml"))
    assert target["backend"] == "door-bell2"


def test_a_class_can_hide_nothing_that_its_file_imports():
    assert Names("backend").fill("${stem}Backend") == "BackendBackend"
    assert Names("options").fill("${stem}Backend") == "OptionsBackend"


@pytest.mark.parametrize("parent", ["", "a/b"])
def test_nothing_half_written_is_left(tmp_path, parent):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))  # some files fit, the runner does not
    try:
        with pytest.raises(BadInputError, match=r"edgeopt-bell cannot be written: File too large$"):
            write_distribution("bell", tmp_path / parent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing_either(tmp_path, monkeypatch):
    def interrupt(names, text):
        if "def load" in text:
            raise KeyboardInterrupt
        return Template(text).safe_substitute(name="bell", package="edgeopt_bell")

    monkeypatch.setattr(Names, "fill", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_distribution("bell", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_dangling_link_in_its_place_is_not_overwritten(tmp_path):
    (tmp_path / "edgeopt-bell").symlink_to(tmp_path / "gone")
    with pytest.raises(BadInputError, match="is there already"):
        write_distribution("bell", tmp_path)


def test_a_name_that_a_package_has_is_taken(tmp_path):
    with pytest.raises(UsageError, match=r"'saved-model' is taken by the package edgeopt_saved_model"):
        write_distribution("saved-model", tmp_path)
