"""Which files changed, and how two folders differ."""

import json

import pytest

from edgeopt.testing.watching import Snapshot, differences

pytestmark = pytest.mark.quick


def test_what_is_made_changed_and_removed_is_told(tmp_path):
    for name in ("kept", "changed", "removed"):
        (tmp_path / name).write_text("before")
    before = Snapshot.take([tmp_path])
    (tmp_path / "changed").write_text("afterwards")
    (tmp_path / "removed").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "allowed").write_text("new")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "module.pyc").write_text("new")
    (tmp_path / "made").write_text("new")
    assert before.changes(exempt=[tmp_path / "out"]) == (
        f"changed {tmp_path / 'changed'}",
        f"made {tmp_path / 'made'}",
        f"removed {tmp_path / 'removed'}",
    )


def test_a_single_file_can_be_watched(tmp_path):
    file = tmp_path / "model.keras"
    file.write_text("before")
    before = Snapshot.take([file])
    assert before.changes(exempt=[]) == ()
    file.write_text("afterwards")
    assert before.changes(exempt=[]) == (f"changed {file}",)


def test_how_two_folders_differ(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, number in ((one, 1), (other, 2)):
        (folder / "deep").mkdir(parents=True)
        (folder / "same.bin").write_bytes(b"same")
        (folder / "deep" / "model.bin").write_bytes(bytes([number]))
        settings = {"made": number, "inner": {"id": number, "name": "x"}, "list": [number]}
        (folder / "settings.json").write_text(json.dumps(settings))
    (one / "spaced.json").write_text("{}")
    (other / "spaced.json").write_text("{ }")
    (other / "extra").write_text("only here")
    assert differences(one, other) == {
        "deep/model.bin": "the bytes",
        "extra": "only once",
        "settings.json": "the keys inner.id, list, made",
        "spaced.json": "the bytes",
    }
