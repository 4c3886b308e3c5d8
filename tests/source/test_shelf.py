import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.source.shelf import Shelf


def test_a_folder_is_built_once(tmp_path):
    calls = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "file").write_text("content")

    shelf = Shelf(tmp_path / "shared")
    first = shelf.once("tflite-float32", build)
    assert first == tmp_path / "shared" / "tflite-float32"
    assert (first / "file").read_text() == "content"
    assert Shelf(tmp_path / "shared").once("tflite-float32", build) == first
    assert len(calls) == 1


def test_a_failure_keeps_nothing(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no")

    shelf = Shelf(tmp_path)
    with pytest.raises(OSError, match="no"):
        shelf.once("key", fail)
    assert [item.name for item in tmp_path.iterdir()] == ["key.lock"]
    built = shelf.once("key", lambda folder: (folder / "whole").touch())
    assert [item.name for item in built.iterdir()] == ["whole"]


def test_what_a_dead_worker_left_is_removed(tmp_path):
    (tmp_path / "key.staged").mkdir()
    (tmp_path / "key.staged" / "half").touch()
    built = Shelf(tmp_path).once("key", lambda folder: (folder / "whole").touch())
    assert [item.name for item in built.iterdir()] == ["whole"]
    assert not (tmp_path / "key.staged").exists()


def test_processes_wait_for_each_other(tmp_path):
    script = f"""
import time
from pathlib import Path
from edgeopt.source.shelf import Shelf

def build(folder):
    with Path({str(tmp_path / "log")!r}).open("a") as log:
        log.write("built\\n")
    time.sleep(0.3)
    (folder / "file").touch()

folder = Shelf(Path({str(tmp_path / "shared")!r})).once("key", build)
print((folder / "file").exists())
"""
    children = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [child.communicate()[0] for child in children] == ["True\n"] * 4
    assert (tmp_path / "log").read_text() == "built\n"


@pytest.mark.parametrize("key", ["", "a/b", "../a", "a_b", "-a", "a b"])
def test_keys_that_are_no_names(tmp_path, key):
    with pytest.raises(ValueError, match="is not made of letters, digits and hyphens"):
        Shelf(tmp_path).once(key, lambda folder: None)


def test_building_a_key_from_itself_is_an_error_and_no_deadlock(tmp_path):
    shelf = Shelf(tmp_path)
    with pytest.raises(ValueError, match="asks for 'key' itself"):
        shelf.once("key", lambda folder: shelf.once("key", lambda _: None) and None)
