"""Sizes and hashes of files and folders."""

import gzip
import hashlib
import os
import subprocess

import pytest

from edgeopt.artifact import HashedFile
from edgeopt.measure import size


@pytest.fixture
def tree(tmp_path):
    """A folder with three files, one of them empty, one deeper."""
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "b.pb").write_bytes(b"graph" * 1000)
    (folder / "variables" / "a.data").write_bytes(bytes(range(256)) * 40)
    (folder / "empty").touch()
    return folder


def test_gzip_size_is_that_of_gzip(tree):
    packed = gzip.compress((tree / "b.pb").read_bytes(), size.GZIP_LEVEL, mtime=0)
    assert size.gzip_bytes(tree / "b.pb") == len(packed)
    assert gzip.decompress(packed) == b"graph" * 1000


def test_gzip_size_of_a_folder_is_the_sum_and_ignores_times(tree):
    before = size.gzip_bytes(tree)
    assert before == sum(size.gzip_bytes(f) for f in tree.rglob("*") if f.is_file())
    os.utime(tree / "b.pb", (0, 0))
    assert size.gzip_bytes(tree) == before


def test_hashes_of_a_file_are_the_plain_ones(tree):
    digest = hashlib.sha256(b"graph" * 1000).hexdigest()
    assert size.sha256(tree / "b.pb") == digest
    assert size.hash_tree(tree / "b.pb") == (HashedFile("b.pb", 5000, digest),)


def test_hash_of_a_folder_is_that_of_its_list(tree):
    assert [file.path for file in size.hash_tree(tree)] == ["b.pb", "empty", "variables/a.data"]
    listed = subprocess.run(
        ["sha256sum", "b.pb", "empty", "variables/a.data"], cwd=tree, capture_output=True, check=True
    ).stdout
    assert size.sha256(tree) == hashlib.sha256(listed).hexdigest()


def test_hash_of_a_folder_sees_contents_and_names_and_nothing_else(tree):
    before = size.sha256(tree)
    os.utime(tree / "empty", (0, 0))
    (tree / "empty").chmod(0o600)
    (tree / "new folder").mkdir()
    assert size.sha256(tree) == before
    (tree / "empty").rename(tree / "void")
    renamed = size.sha256(tree)
    assert renamed != before
    (tree / "void").write_bytes(b"x")
    assert size.sha256(tree) not in {before, renamed}
