"""The boards of another architecture are what they claim."""

import pytest

from tests.standins import cache
from tests.standins.waiting import until

pytestmark = pytest.mark.slow

LOOK = """
import json, platform, numpy
from ai_edge_litert.interpreter import Interpreter
print(json.dumps([platform.machine(), platform.libc_ver()[1], numpy.arange(4).sum().item()]))
"""


def test_an_arm_board_is_aarch64_with_litert_behind_ssh(arm_board):
    show = "uname -m; id -un; grep -c 'part.*0xd0b' /proc/cpuinfo; cat /sys/firmware/devicetree/base/model"
    assert arm_board.run(show).stdout == "aarch64\npi\n4\nRaspberry Pi 5 Model B Rev 1.0\0"
    done = arm_board.run(f"{arm_board.python} -", input=LOOK)
    assert (done.returncode, done.stdout) == (0, '["aarch64", "2.36", 6]\n'), done.stderr


def test_its_system_cannot_be_changed_and_its_home_can(arm_board):
    assert "Read-only file system" in arm_board.run("touch /usr/x /opt/wheels/x").stderr
    assert arm_board.run("touch x /tmp/x && ls").stdout == "x\n"


def test_what_it_starts_is_seen_and_ends_with_it(arm_board):
    arm_board.run("setsid sleep 77 > /dev/null 2>&1 < /dev/null &")
    assert [command for command in arm_board.processes().values() if command.endswith("sleep 77")]
    until(lambda: arm_board.sessions() == [])


def test_an_old_board_has_litert_which_cannot_load(old_board):
    assert old_board.run("uname -m; ls -d /opt/wheels/ai_edge_litert").stdout == "aarch64\n/opt/wheels/ai_edge_litert\n"
    done = old_board.run(f"{old_board.python} -", input=LOOK)
    assert done.returncode == 1
    assert "version `GLIBCXX_3.4.29' not found" in done.stderr


def test_a_build_that_was_broken_off_is_begun_again_and_a_whole_one_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEOPT_TEST_CACHE", str(tmp_path))

    def broken(folder):
        (folder / "half").touch()
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        cache.built("thing", "one", broken)
    made = cache.built("thing", "one", lambda folder: (folder / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert cache.built("thing", "one", broken) == made
    assert cache.built("thing", "two", lambda folder: None) != made
