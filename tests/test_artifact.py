"""The artifact on disk: what a backend may write, the manifest, verification, and the move into place."""

import json
import os

import pytest

from edgeopt.artifact import MANIFEST, HashedFile, check_files, publish, verify, write_manifest
from edgeopt.errors import BadInputError, ExportError

pytestmark = pytest.mark.quick

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture
def written(tmp_path):
    folder = tmp_path / "written"
    (folder / "part").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"abc")
    (folder / "part" / "é b").write_bytes(b"")
    return folder


def listed(folder):
    return [folder / "model.bin", folder / "part" / "é b"]


def test_files_are_hashed_and_named_from_the_folder(written):
    files = check_files(written, written / "model.bin", listed(written))
    assert files[0] == HashedFile("model.bin", 3, SHA256_OF_ABC)
    assert files[1].path == "part/é b"


def test_a_folder_may_be_the_main_thing(written):
    assert len(check_files(written, written / "part", listed(written))) == 2


def break_missing(folder, files):
    (folder / "model.bin").unlink()


def break_extra(folder, files):
    (folder / "notes.txt").touch()


def break_link(folder, files):
    (folder / "link").symlink_to("/etc/hostname")


def break_outside(folder, files):
    (folder.parent / "elsewhere").touch()
    files.append(folder.parent / "elsewhere")


def break_pipe(folder, files):
    os.mkfifo(folder / "pipe")


def break_listed_pipe(folder, files):
    os.mkfifo(folder / "pipe")
    files.append(folder / "pipe")


def break_name(folder, files):
    files.append(folder / "bad \udcff")
    files[-1].touch()


def break_manifest(folder, files):
    (folder / MANIFEST).write_text("{}")
    files.append(folder / MANIFEST)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_pipe, "wrote pipes, sockets or devices, which cannot be shipped: pipe"),
        (break_listed_pipe, "wrote pipes, sockets or devices, which cannot be shipped: pipe"),
        (break_name, r"wrote a file whose name is no UTF-8: bad \\udcff"),
        (break_manifest, "wrote edgeopt.json, which is what edgeopt itself calls its manifest"),
        (break_missing, "lists model.bin, which it did not write"),
        (break_extra, "wrote files that it does not list: notes.txt"),
        (break_link, "wrote links, which cannot be shipped: link"),
        (break_outside, "outside its output folder"),
    ],
)
def test_a_backend_that_lists_other_files_than_it_wrote_fails(written, damage, message):
    files = listed(written)
    damage(written, files)
    with pytest.raises(ExportError, match=message):
        check_files(written, written / "model.bin", files)


@pytest.fixture
def artifact(written):
    write_manifest(written, {"target": "t"}, check_files(written, written / "model.bin", listed(written)))
    return written


def test_an_untouched_artifact_verifies_by_folder_and_by_manifest(artifact):
    assert verify(artifact).problems == ()
    assert verify(artifact / MANIFEST).files == 2


def change(artifact):
    (artifact / "model.bin").write_bytes(b"abd")


def lose(artifact):
    (artifact / "model.bin").unlink()


def add(artifact):
    (artifact / "new").touch()


def point_outside(artifact):
    document = json.loads((artifact / MANIFEST).read_text())
    document["files"][0]["path"] = "../../model.bin"
    (artifact / MANIFEST).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (change, ("model.bin has changed",)),
        (lose, ("model.bin is missing",)),
        (add, ("new is not in the manifest",)),
        (point_outside, ("../../model.bin lies outside the artifact", "model.bin is not in the manifest")),
    ],
)
def test_a_changed_artifact_says_what_changed(artifact, damage, problems):
    damage(artifact)
    assert verify(artifact).problems == problems


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", '{"files": [1]}', '{"files": [{"path": "a"}]}'])
def test_a_manifest_that_is_none_is_bad_input(artifact, text):
    (artifact / MANIFEST).write_text(text)
    with pytest.raises(BadInputError, match="cannot be read"):
        verify(artifact)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path):
    with pytest.raises(BadInputError, match="is no artifact"):
        verify(tmp_path)


def test_a_manifest_that_is_a_pipe_does_not_hang(artifact):
    (artifact / MANIFEST).unlink()
    os.mkfifo(artifact / MANIFEST)
    with pytest.raises(BadInputError, match="is no regular file"):
        verify(artifact)


def test_a_manifest_holds_only_what_every_reader_takes(written):
    facts = {"metadata": {"a \udcff": float("nan")}, "warnings": ["bad \udcff"]}
    write_manifest(written, facts, check_files(written, written / "model.bin", listed(written)))
    document = json.loads((written / MANIFEST).read_text("utf-8"), parse_constant=lambda name: 1 / 0)
    assert document["metadata"] == {"a \\udcff": None}
    assert document["warnings"] == ["bad \\udcff"]


@pytest.fixture
def older(tmp_path):
    """An older artifact in the place of the new one."""
    final = tmp_path / "final"
    final.mkdir()
    (final / "old").touch()
    write_manifest(final, {}, check_files(final, final / "old", [final / "old"]))
    return final


def test_publishing_replaces_an_older_artifact_whole(artifact, older):
    publish(artifact, older)
    assert verify(older).problems == ()
    assert sorted(p.name for p in older.parent.iterdir()) == ["final"]


def users_file(final):
    (final / "mine.txt").touch()


def users_manifest(final):
    (final / MANIFEST).write_text("{}")


def broken_manifest(final):
    (final / MANIFEST).write_text("{")


def no_manifest(final):
    (final / MANIFEST).unlink()


def link(final):
    final.rename(final.with_name("real"))
    final.symlink_to(final.with_name("real"))


def dangling_link(final):
    final.rename(final.with_name("real"))
    final.symlink_to("/no/such/place")


def plain_file(final):
    final.rename(final.with_name("real"))
    final.write_text("mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (users_file, "final holds what edgeopt did not write there: mine.txt"),
        (users_manifest, "final exists and was not written by edgeopt"),
        (broken_manifest, "final exists and was not written by edgeopt"),
        (no_manifest, "final exists and was not written by edgeopt"),
        (link, "final exists and was not written by edgeopt"),
        (dangling_link, "final exists and was not written by edgeopt"),
        (plain_file, "final exists and was not written by edgeopt"),
    ],
)
def test_publishing_leaves_alone_what_is_not_edgeopts_own(artifact, older, change, message):
    change(older)
    before = sorted(path for path in older.parent.rglob("*"))
    with pytest.raises(BadInputError, match=message):
        publish(artifact, older)
    assert sorted(path for path in older.parent.rglob("*")) == before
