"""The artifact on disk: what a backend may write, the manifest, verification, and the move into place."""

import json

import pytest

from edgeopt.artifact import MANIFEST, HashedFile, check_files, publish, verify, write_manifest
from edgeopt.errors import BadInputError, ExportError

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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
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


@pytest.mark.parametrize("text", ["", "[]", '{"files": [1]}', '{"files": [{"path": "a"}]}'])
def test_a_manifest_that_is_none_is_bad_input(artifact, text):
    (artifact / MANIFEST).write_text(text)
    with pytest.raises(BadInputError, match="cannot be read"):
        verify(artifact)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path):
    with pytest.raises(BadInputError, match="is no artifact"):
        verify(tmp_path)


def test_publishing_replaces_an_older_artifact_whole(artifact, tmp_path):
    final = tmp_path / "final"
    final.mkdir()
    (final / MANIFEST).write_text("{}")
    (final / "old").touch()
    publish(artifact, final)
    assert verify(final).problems == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["final"]


def test_publishing_leaves_a_strangers_folder_alone(artifact, tmp_path):
    final = tmp_path / "photos"
    final.mkdir()
    (final / "holiday.jpg").touch()
    with pytest.raises(ExportError, match="was not written by edgeopt"):
        publish(artifact, final)
    assert (final / "holiday.jpg").exists()
