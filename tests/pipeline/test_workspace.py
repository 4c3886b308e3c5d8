"""The folder of a run: what may already lie there, and who else may write to it."""

import os
import subprocess
import sys

import pytest

from edgeopt.errors import BadInputError
from edgeopt.pipeline.workspace import Workspace


def claim(out):
    with Workspace.create(out, "m") as workspace, workspace.claim():
        return workspace


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("run.json", "run.json is a folder, where the file of this run must go"),
        ("logs/model.log", "logs/model.log cannot be replaced: Is a directory"),
        ("logs/source.log", "logs/source.log cannot be replaced: Is a directory"),
    ],
)
def test_what_is_in_the_way_is_found_before_anything_is_done(tmp_path, place, message):
    (tmp_path / "m" / place).mkdir(parents=True)
    with pytest.raises(BadInputError, match=message) as caught:
        claim(tmp_path)
    assert caught.value.hint == "move it away, or choose another folder with --out"
    assert not list((tmp_path / "m").glob(".edgeopt-work-*"))


def test_a_log_of_an_older_run_is_replaced_and_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "m" / "logs").mkdir(parents=True)
    (tmp_path / "m" / "logs" / "model.log").symlink_to(tmp_path / "precious")
    (tmp_path / "m" / "logs" / "source.log").write_text("old")
    claim(tmp_path)
    assert not any((tmp_path / "m" / "logs").iterdir())
    assert (tmp_path / "precious").read_text() == "mine"


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from edgeopt.pipeline.workspace import Workspace\n"
        "with Workspace.create(Path(sys.argv[1]), 'm') as w, w.claim(): print('claimed', flush=True); input()"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "claimed\n"
        with pytest.raises(BadInputError, match="another run is writing to"):
            claim(tmp_path)
        other.kill()
    claim(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(BadInputError, match="cannot be written to: Permission denied"):
        claim(tmp_path)
