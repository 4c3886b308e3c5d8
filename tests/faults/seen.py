"""What a user, and whoever looks at the board afterwards, sees of a profile."""

import json

from tests.standins.waiting import until

LIMIT_S = 120
MEASURING = "measuring "
ENDED = "the link to "
NAMES = ("tflite-int8", "tflite-float32")


def told(running, text):
    """Wait until the command tells something, and return what it told by then."""
    lines = []
    for line in iter(running.stderr.readline, ""):
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it never told {text!r}:\n{''.join(lines)}")


def measuring(running, board):
    """Wait until artifacts are timed on the board, which is after they have answered."""
    told(running, MEASURING)
    until(lambda: "harness.py" in " ".join(board.processes().values()), LIMIT_S)


def ended(running):
    """Exit code, document on standard output if there is one, and what was told since the last look."""
    out, err = running.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err, err
    assert "a bug in edgeopt" not in err + out, err
    return running.returncode, json.loads(out) if out else None, err


def rows(run):
    """The rows of a run by target, without the source's, which a profile never measures."""
    return {row["target"]: row for row in run["results"] if row["target"] != "source"}


def statuses(run):
    return {name: row["status"] for name, row in rows(run).items()}


def errors(run):
    """What each row says went wrong: message and hint."""
    return {name: (row["error"]["message"], row["error"]["hint"]) for name, row in rows(run).items() if row["error"]}


def assert_measured(run, names=NAMES):
    """All rows have a fidelity and as many launches as a measurement has."""
    found = rows(run)
    assert {name: found[name]["status"] for name in names} == dict.fromkeys(names, "ok"), errors(run)
    for name in names:
        assert found[name]["latency"]["launches"] >= 3
        assert found[name]["fidelity"]["top1_agreement"] > 0.9


def assert_left_alone(board):
    """Nothing of edgeopt runs on the board any more; so nobody has its claim either, which ends with its process."""
    until(lambda: board.processes() == {})


def read_journal(made, device):
    """The records of a journal, without its head."""
    file = made / f"profile-{device}.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines[1:] if line.endswith("\n")]
