"""Links that are cut, slow or silent while a device is measured, and devices that start anew or stay away."""

import hashlib
import json
import signal

import pytest

from tests.faults.conftest import QUICK
from tests.faults.seen import (
    ENDED,
    LIMIT_S,
    MEASURING,
    assert_left_alone,
    assert_measured,
    ended,
    errors,
    measuring,
    read_journal,
    rows,
    told,
)
from tests.standins import needs
from tests.standins.limits import Limits
from tests.standins.sshd import Sshd
from tests.standins.waiting import until

pytestmark = pytest.mark.slow

LONG = ("--seconds", "10", "--json", "-")
ONE = ("--target", "tflite-int8")


@pytest.fixture
def forgetful(tmp_path):
    """A board whose home folder is empty whenever it starts."""
    needs.require("sshd", "ssh", "ssh-keygen", root=True)
    with Sshd(tmp_path / "forgetful", limits=Limits(disk_bytes=64 << 20)) as board:
        yield board


def until_rounds(desk, running):
    """Wait until some rounds were measured on the board."""
    told(running, "measuring 2 artifacts")
    until(lambda: done(read_journal(desk.made, "pi5")) > 1, LIMIT_S)


def owed(records):
    """How many rounds the first launch of these records has to give."""
    return next(record["rounds"] for record in records if "rounds" in record)


def done(records):
    """How many rounds were measured."""
    return sum("round" in record for record in records)


def test_a_cut_costs_one_round(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with desk.profile("--device", "pi5", *LONG) as running:
        measuring(running, sshd)
        sshd.kill_sessions()
        code, document, err = ended(running)
    assert code == 0, err
    assert "the link to ssh://pi5" in err
    assert_measured(document["runs"][0])
    assert_left_alone(sshd)


def test_a_cut_between_answers_and_rounds_costs_nothing(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with desk.profile("--device", "pi5", *ONE, *QUICK, "--json", "-") as running:
        told(running, MEASURING)
        sshd.kill_sessions()
        code, document, err = ended(running)
    assert code == 0, err
    assert_measured(document["runs"][0], ["tflite-int8"])
    assert_left_alone(sshd)


def test_a_board_that_starts_anew_gets_its_files_again_and_goes_on(desk, forgetful):
    desk.know("pi5", forgetful, "--python", forgetful.python)
    with desk.profile("--device", "pi5", *LONG) as running:
        measuring(running, forgetful)
        forgetful.stop()
        told(running, ENDED)
        forgetful.start()
        assert forgetful.run("ls .cache").returncode != 0
        code, document, err = ended(running)
    assert code == 0, err
    assert_measured(document["runs"][0])
    assert_left_alone(forgetful)


def test_a_board_that_stays_away_is_waited_for_until_ctrl_c_and_only_the_rest_is_measured_then(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with desk.profile("--device", "pi5", *LONG) as running:
        until_rounds(desk, running)
        sshd.stop()
        told(running, ENDED)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=15)
    assert running.returncode == 130
    kept = read_journal(desk.made, "pi5")
    stopped = rows(json.loads((desk.made / "profile-pi5.json").read_text()))["tflite-int8"]
    assert stopped["latency"]["launches"] == 1
    assert (stopped["status"], stopped["error"]) == ("ok", None)
    sshd.start()
    with desk.profile("--device", "pi5", *LONG, "--resume") as running:
        code, document, err = ended(running)
    assert code == 0, err
    (run,) = document["runs"]
    assert_measured(run)
    journal = read_journal(desk.made, "pi5")
    assert journal[: len(kept)] == kept
    assert owed(journal[len(kept) :]) == owed(kept) - done(kept)
    assert_left_alone(sshd)


def test_a_board_that_comes_back_as_another_machine_is_given_up_with_what_was_measured(desk, sshd):
    desk.know("pi5", sshd, "--python", sshd.python)
    with desk.profile("--device", "pi5", "--device", "local", *LONG) as running:
        until_rounds(desk, running)
        sshd.change_host_key()
        code, document, err = ended(running)
    assert code == 6, err
    lost, here = document["runs"]
    for message, hint in errors(lost).values():
        assert message.startswith("ssh://pi5 did not come back: the host key of pi5 has changed: ")
        assert "ssh-keygen -R" in hint
    assert [row["latency"]["launches"] for row in rows(lost).values()] == [1, 1]
    assert_measured(here)


def whole(board, made):
    """Whether the artifact that lies on a board is the one that lies here, byte for byte."""
    sums = board.run("sha256sum .cache/edgeopt/files/*/tflite-int8/model.tflite").stdout.split()[::2]
    return sums == [hashlib.sha256((made / "tflite-int8" / "model.tflite").read_bytes()).hexdigest()]


@pytest.mark.parametrize("spoil", ["cut_after", "flip_after"])
def test_a_slow_link_that_spoils_what_is_pushed(desk, sshd, relay, spoil):
    link = relay(sshd.port)
    link.latency_s, link.bytes_per_s = 0.02, 2_000_000
    desk.know("pi5", sshd.through(link.port), "--python", sshd.python)
    getattr(link, spoil)("up", 1_000_000)
    with desk.profile("--device", "pi5", *ONE, *QUICK, "--json", "-") as running:
        code, document, err = ended(running)
    assert code == 0, err
    assert_measured(document["runs"][0], ["tflite-int8"])
    assert err.count(ENDED) == 1, err
    assert whole(sshd, desk.made)
    assert_left_alone(sshd)
