"""`edgeopt verify`: an artifact as it was written, and every way in which it can differ."""

import json

import pytest

from edgeopt.artifact import check_files, write_manifest


@pytest.fixture
def artifact(tmp_path):
    """An artifact of two files, in the folder of a run."""
    folder = tmp_path / "dist" / "model" / "target"
    (folder / "sub").mkdir(parents=True)
    files = [folder / "model.bin", folder / "sub" / "more.bin"]
    for file in files:
        file.write_bytes(b"content of " + file.name.encode())
    write_manifest(folder, {"target": "target"}, check_files(folder, files[0], files))
    return folder


@pytest.mark.parametrize("path", ["dist/model/target", "dist/model", "dist"])
def test_untouched(cli, artifact, path):
    ended = cli("verify", path)
    assert (ended.code, ended.out, ended.err) == (0, "dist/model/target is as it was written (2 files)\n", "")


def test_changed_missing_and_extra_files(cli, artifact):
    (artifact / "model.bin").write_bytes(b"content of model.bim")
    (artifact / "sub" / "more.bin").unlink()
    (artifact / "extra").write_text("x")
    ended = cli("verify", "dist/model/target")
    assert ended.code == 8
    assert (
        ended.out
        == """\
dist/model/target has changed
  model.bin has changed
  sub/more.bin is missing
  extra is not in the manifest
"""
    )


def test_as_json(cli, artifact):
    (artifact / "extra").write_text("x")
    ended = cli("verify", "dist", "--json", "-")
    assert ended.code == 8
    assert json.loads(ended.out) == [
        {"path": "dist/model/target", "files": 2, "problems": ["extra is not in the manifest"]}
    ]


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_no_artifact(cli, path):
    ended = cli("verify", path)
    assert (ended.code, ended.out) == (8, "")
    assert ended.err.startswith("error: ")
    assert ended.err.endswith("is no artifact: it has no edgeopt.json\nhint: name a folder that edgeopt export wrote\n")
