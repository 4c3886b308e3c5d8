"""`edgeopt plugins check`: what it prints, what it writes, and how it fails. What it finds: tests/testing."""

import json
import sys

import pytest

from edgeopt.testing.guide import GUIDE
from tests.testing.toys import ABSENT, BADS, Bad, install_toy

QUIET = Bad("", "", "", ABSENT)
"""A sound backend that is not available, so that nothing needs to be exported."""


@pytest.fixture
def toys(edgeopt):
    """Put toys where the command finds them, and nothing else."""

    def put(**bads):
        site = edgeopt.folder / "site-packages"
        for name, bad in bads.items():
            install_toy(site, f"toy-{name}", bad)
        edgeopt.environment |= {"PYTHONPATH": str(site), "EDGEOPT_PLUGINS": ",".join(f"toy-{name}" for name in bads)}
        return edgeopt

    return put


def test_a_sound_plugin_is_a_checklist_and_each_check_is_told_as_it_ends(toys):
    code, out, err = toys(sound=QUIET).run("plugins", "check", "toy-sound")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "toy-sound (toy-sound 1.0)"
    assert lines[1:3] == ["  ok       an installed plugin gives it", "  ok       its summary is one line"]
    assert lines[-1] == "  28 checks, none failed"
    position = lines.index("  skipped  it exports the demo")
    assert lines[position + 1] == "           it is a toy"
    told = [line for line in err.splitlines() if line.startswith("toy-sound: ")]
    assert told[:3] == [
        "toy-sound: checking",
        "toy-sound: an installed plugin gives it: ok",
        "toy-sound: its summary is one line: ok",
    ]
    assert len(told) == 29
    assert "pytest" not in err


def test_one_check_alone(toys):
    edgeopt = toys(sound=QUIET)
    code, out, err = edgeopt.run("plugins", "check", "toy-sound", "--only", "its summary is one line")
    assert code == 0, err
    assert out.splitlines() == [
        "toy-sound (toy-sound 1.0)",
        "  ok       its summary is one line",
        "  1 check, none failed",
    ]


def test_a_check_that_does_not_exist(toys):
    code, out, err = toys(sound=QUIET).run("plugins", "check", "toy-sound", "--only", "its summary is a line")
    assert (code, out) == (2, "")
    assert err == "error: no check is called 'its summary is a line'\nhint: did you mean its summary is one line?\n"


def test_a_failure_says_what_was_expected_and_where_it_is_explained(toys):
    code, out, err = toys(silent=BADS["undescribed"], sound=QUIET).run(
        "plugins", "check", "toy-silent", "--json", "found.json"
    )
    assert code == 3
    assert (
        "  failed   its options are described\n"
        '           expected: metadata={"help": ...} for every option, as edgeopt backends shows it\n'
        "           found: no help for bits\n"
        f"           see {GUIDE}#options\n"
    ) in out
    assert "28 checks, 1 of them failed" in out
    log = err.splitlines()[-1].removeprefix("what pytest said is in ")
    assert log.endswith("pytest.log")
    found = json.loads((toys().folder / "found.json").read_text())
    assert [backend["name"] for backend in found["backends"]] == ["toy-silent"]
    failed = [check for check in found["backends"][0]["checks"] if check["outcome"] == "failed"]
    assert failed == [
        {
            "check": "its options are described",
            "outcome": "failed",
            "reason": 'expected: metadata={"help": ...} for every option, as edgeopt backends shows it\n'
            "found: no help for bits",
            "see": f"{GUIDE}#options",
            "seconds": failed[0]["seconds"],
        }
    ]


def test_a_broken_plugin_is_told_as_such(edgeopt):
    edgeopt.install("toy-broken", "import no_such_module")
    code, out, err = edgeopt.run("plugins", "check", "toy-broken")
    assert (code, out) == (3, "")
    assert err.startswith("error: the plugin toy-broken of toy-broken 1.0 is broken: ModuleNotFoundError")


def test_a_mistyped_name_gets_the_nearest(cli):
    ended = cli("plugins", "check", "tflyte")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        "error: no distribution, plugin or backend is called 'tflyte'\nhint: did you mean tflite"
    )


def test_without_pytest_the_command_that_adds_it_is_named(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    ended = cli("plugins", "check", "tflite")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err == (
        "error: the checks need pytest, which is not installed\nhint: install it: pip install 'edgeopt[testing]'\n"
    )


def test_a_place_that_json_cannot_be_written_to_is_told_before_the_work(cli):
    ended = cli("plugins", "check", "tflite", "--json", "nowhere/found.json")
    assert (ended.code, ended.out) == (8, "")


def test_its_help_names_what_can_be_set(cli):
    ended = cli("plugins", "check", "--help")
    assert ended.code == 0
    for word in ("DISTRIBUTION", "--min-agreement", "--varies", "--json"):
        assert word in ended.out
