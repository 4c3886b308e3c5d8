"""`edgeopt plugins new`: what it prints, and how it fails."""

import json
import shlex
import sys

import pytest


def test_it_says_what_it_wrote_and_how_to_go_on(cli, tmp_path):
    ended = cli("plugins", "new", "doorbell")
    assert (ended.code, ended.err) == (0, "")
    assert (
        ended.out
        == f"""\
edgeopt-doorbell is written into edgeopt-doorbell

  src/edgeopt_doorbell/backend.py             the backend and its options
  src/edgeopt_doorbell/runner.py              runs an artifact on the device
  src/edgeopt_doorbell/targets/doorbell.toml  its target
  src/edgeopt_doorbell/__init__.py            the hook that edgeopt calls
  tests/test_backend.py                       the conformance kit
  pyproject.toml                              the entry point
  README.md                                   what its users read
  .github/workflows/test.yml                  for your CI
  .gitignore                                  what is made and not kept

Go on with:

  {sys.executable} -m pip install -e './edgeopt-doorbell[test]'
  {sys.executable} -m pytest ./edgeopt-doorbell
  {sys.executable} -m edgeopt export --target doorbell
"""
    )
    assert [place.name for place in tmp_path.iterdir()] == ["edgeopt-doorbell"]


def test_a_command_longer_than_the_terminal_stays_one_line(cli, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/" + "deep/" * 20 + "python")
    lines = cli("plugins", "new", "doorbell").out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == [sys.executable] * 3


def test_another_folder_is_made_where_it_is_missing(cli, tmp_path):
    ended = cli("plugins", "new", "edgeopt-doorbell", "--dir", "my plugins/new", "--json", "-")
    assert ended.code == 0
    said = json.loads(ended.out)
    assert said["folder"] == "my plugins/new/edgeopt-doorbell"
    assert all((tmp_path / said["folder"] / file).is_file() for file in said["files"])
    assert shlex.split(said["next"][0])[-1] == "./my plugins/new/edgeopt-doorbell[test]"


@pytest.mark.parametrize("name", ["Doorbell", "door_bell", "door--bell", "-bell", "2bell", "", "edgeopt-", "../bell"])
def test_a_name_that_no_plugin_can_have(cli, tmp_path, name):
    ended = cli("plugins", "new", "--", name)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"error: a plugin cannot be called {name!r}\nhint: use lower case, digits and single hyphens, a letter first,"
        " for instance my-board; not all, logs, model, reference, run.json, source\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["all", "edgeopt-source"])
def test_a_name_that_no_target_can_have(cli, name):
    ended = cli("plugins", "new", name)
    assert ended.code == 2
    assert ended.err.startswith(f"error: a plugin cannot be called {name!r}\n")


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("tflite", "a backend of edgeopt "),
        ("edgeopt-tf-gpu", "a backend of edgeopt "),
        ("tflite-int8", "the target "),
        ("saved-model", "the package edgeopt_saved_model, which is installed\n"),
    ],
)
def test_a_name_that_is_taken(cli, tmp_path, name, owner):
    ended = cli("plugins", "new", name)
    assert (ended.code, ended.out) == (2, "")
    assert f"error: the name {name.removeprefix('edgeopt-')!r} is taken by {owner}" in ended.err
    assert ended.err.endswith("hint: choose another one\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there(cli, tmp_path):
    (tmp_path / "edgeopt-doorbell").mkdir()
    ended = cli("plugins", "new", "doorbell")
    assert (ended.code, ended.out) == (8, "")
    assert ended.err == (
        "error: edgeopt-doorbell is there already\nhint: choose another name or another place: --dir DIR\n"
    )
    assert list((tmp_path / "edgeopt-doorbell").iterdir()) == []


def test_a_place_that_cannot_be_written_to(cli, tmp_path):
    (tmp_path / "file").write_text("")
    ended = cli("plugins", "new", "doorbell", "--dir", "file/below")
    assert (ended.code, ended.out) == (8, "")
    assert ended.err == (
        "error: file/below/edgeopt-doorbell cannot be written: Not a directory\nhint: choose another place: --dir DIR\n"
    )
    assert [place.name for place in tmp_path.iterdir()] == ["file"]


def test_its_help_fits_80_columns(cli):
    ended = cli("plugins", "new", "--help")
    assert ended.code == 0
    assert "Usage: edgeopt plugins new [OPTIONS] {NAME}" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
