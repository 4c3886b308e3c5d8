"""`edgeopt devices`, with a real board behind ssh."""

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from edgeopt.cli.options import complete_device
from edgeopt.devices import adb, find_device
from edgeopt.devices.ssh import COMMAND_VARIABLE
from tests.standins.registry import OURS


@pytest.fixture
def board(sshd, monkeypatch):
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(sshd.config)]))
    return sshd


def test_add_change_and_remove(cli, tmp_path):
    file = tmp_path / "config" / "devices" / "pi5.toml"
    added = cli("devices", "add", "pi5", "ssh://pi@pi5", "--cores", "4-7", "--jump", "me@gate")
    assert (added.code, added.err) == (0, "")
    assert added.out == f"pi5 is added, in {file}\nWhat is there: edgeopt devices check pi5\n"
    assert file.read_text() == 'uri = "ssh://pi@pi5"\njump = "me@gate"\ncores = "4-7"\n'
    (tmp_path / "id").touch()
    assert cli("devices", "add", "pi5", "ssh://pi@other", "--key", "id").out.startswith("pi5 is changed, in ")
    assert file.read_text() == f'uri = "ssh://pi@other"\nkey = "{tmp_path / "id"}"\n'
    assert cli("devices", "remove", "pi5").out == "pi5 is removed, it was ssh://pi@other\n"
    assert not file.exists()


def test_add_and_remove_as_json(cli, tmp_path):
    file = tmp_path / "config" / "devices" / "pi5.toml"
    added = cli("devices", "add", "pi5", "ssh://pi@pi5", "--cores", "4-7", "--json", "-")
    assert (added.code, added.err) == (0, "")
    assert json.loads(added.out) == {
        "name": "pi5",
        "uri": "ssh://pi@pi5",
        "settings": {"cores": "4-7"},
        "file": str(file),
        "own": True,
    }
    removed = cli("devices", "remove", "pi5", "--json", "removed.json")
    assert removed.out == "pi5 is removed, it was ssh://pi@pi5\n"
    assert json.loads(Path("removed.json").read_text()) == {"removed": "pi5", "uri": "ssh://pi@pi5"}


@pytest.mark.parametrize(
    "command", [("add", "pi5", "ssh://other"), ("remove", "pi5"), ("prepare", "pi5"), ("clean", "pi5")]
)
def test_nothing_is_done_where_the_json_cannot_be_written(cli, command):
    cli("devices", "add", "pi5", "ssh://pi5.invalid")
    ended = cli("devices", *command, "--json", "no/such.json")
    assert (ended.code, ended.out) == (8, "")
    assert ended.err == "error: --json no/such.json: there is no folder no\nhint: make it first\n"
    assert Path("config/devices/pi5.toml").read_text() == 'uri = "ssh://pi5.invalid"\n'


def test_a_device_of_the_team(cli, tmp_path):
    Path("edgeopt.toml").write_text('[devices.nas]\nuri = "ssh://nas.invalid"\n')
    listed = cli("devices", "list")
    assert listed.out.splitlines()[-3:] == [
        "nas    ssh://nas.invalid  no",
        "  there is no host called nas.invalid",
        "  hint: is the name spelled as in ~/.ssh/config?",
    ]
    assert cli("devices", "remove", "nas").err == (
        f"error: nas is a device of the project\nhint: take it out of {tmp_path / 'edgeopt.toml'}\n"
    )
    assert "It now comes before the project's device of that name.\n" in cli("devices", "add", "nas", "ssh://mine").out


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["x", "pi"], "device 'x': 'pi' is no address", "known: local, ssh://user@host:port"),
        (["x", "http://pi"], "no device is called 'http://pi'", "known: local, ssh://user@host:port"),
        (["x", "ssh://a", "--cores", "x"], "device 'x': cores 'x': 'x' names no cores", "for instance 4-7"),
        (["x", "ssh://a", "--jump", "a;b"], "a;b is no host to jump over", "user@host:port"),
        (["x", "ssh://a", "--workdir", "here"], "device 'x': workdir 'here' is no absolute path", "for instance"),
        (["a b", "ssh://a"], "device 'a b': it cannot be called so", "letters, digits and -_."),
        (["x", "ssh://-oProxyCommand=x"], "-oProxyCommand=x is no address for ssh", "ssh://user@host:port"),
    ],
)
def test_what_cannot_be_added(cli, tmp_path, arguments, message, hint):
    ended = cli("devices", "add", *arguments)
    assert (ended.code, ended.out) == (2, "")
    first, second = ended.err.splitlines()
    assert first == f"error: {message}"
    assert second.startswith(f"hint: {hint}")
    assert not (tmp_path / "config").exists()


def test_the_list_fits_80_columns_and_a_wide_terminal_has_the_runtimes_beside(cli, board, monkeypatch):
    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python)
    Path("edgeopt.toml").write_text('[devices."x\\u001b[31m"]\nuri = "ssh://nas"\n')
    ended = cli("devices")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0] == "name       address      reachable  machine  cores  memory"
    assert (
        max(len(line) for line in lines if "/" not in line.removeprefix("pi5        ssh://")) <= 80
    )  # paths stay whole
    (row,) = (index for index, line in enumerate(lines) if line.startswith("pi5 "))
    assert lines[row].startswith("pi5        ssh://board  yes        ")
    assert lines[row + 1].startswith("  tensorflow 2.")
    assert "x\\x1b[31m" in ended.out
    assert "\x1b" not in ended.out
    monkeypatch.setenv("COLUMNS", "300")
    wide = cli("devices").out.splitlines()
    assert wide[0].endswith("memory  runtimes")


def test_the_list_as_json(cli, board):
    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python, "--cores", "0")
    ended = cli("devices", "--json", "-")
    own, pi5 = json.loads(ended.out)
    assert (own["name"], own["uri"], own["reachable"], own["error"]) == ("local", "local", True, None)
    facts = pi5.pop("facts")
    assert facts["cores"] == 1
    assert facts["runtimes"] == own["facts"]["runtimes"]
    assert pi5 == {
        "name": "pi5",
        "uri": "ssh://board",
        "settings": {"python": board.python, "cores": "0"},
        "file": str(Path("config/devices/pi5.toml").absolute()),
        "own": True,
        "reachable": True,
        "error": None,
    }


def test_check_says_what_is_there_and_what_adds_what_is_missing(cli, board, monkeypatch):
    from edgeopt.registry import find_backends

    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python)
    monkeypatch.setattr(find_backends().backends["tf-gpu"].backend, "requires", ("no-such>=1",))
    ended = cli("devices", "check", "pi5")
    assert (ended.code, ended.err) == (0, "pi5: looking at what is there\n")
    assert f"({board.python})" in ended.out
    assert "ai-edge-litert  2." in ended.out
    assert "tflite: nothing is missing\n" in ended.out
    assert (
        "tf-gpu: the device ssh://board does not have no-such>=1, which its runner needs\n"
        "  edgeopt devices prepare pi5 --backend tf-gpu\n"
    ) in ended.out
    assert json.loads(cli("devices", "check", "pi5", "--json", "-").out)["facts"]["uri"] == "ssh://board"


def test_check_of_a_device_on_which_nothing_can_run_and_of_one_that_is_not_there(cli, board, monkeypatch):
    from edgeopt.registry import find_backends

    for found in find_backends().backends.values():
        monkeypatch.setattr(found.backend, "requires", ("no-such>=1",))
    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python)
    assert cli("devices", "check", "pi5").code == 4
    board.stop()
    ended = cli("devices", "check", "pi5")
    assert (ended.code, ended.out) == (6, "")
    assert "error: board runs no ssh server at that port\n" in ended.err


def test_prepare_shows_what_it_will_do_and_does_it_and_clean_takes_it_away(cli, board, runtime):
    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python)
    asked = cli("devices", "prepare", "pi5", "--backend", "tflite", "--offline")
    assert (asked.code, asked.out) == (2, "")
    folder = f"{board.workdir}/.cache/edgeopt"
    told = " ".join(asked.err.split())
    assert f"gets a virtual environment in {folder}/python, with what these runners require: tflite {OURS}" in told
    assert "The packages are fetched on this machine and pushed. error: nobody is there to be asked" in told
    assert board.run("ls .cache/edgeopt").stdout == "files\n"
    done = cli("devices", "prepare", "pi5", "--backend", "tflite", "--offline", "--yes")
    assert done.code == 0
    assert done.out.splitlines()[:2] == [
        "pi5 is ready, from wheels that were fetched here:",
        "  edgeopt-test-runtime  1.5",
    ]
    assert "tflite: nothing is missing" in cli("devices", "check", "pi5").out
    cleaned = cli("devices", "clean", "pi5", "--yes")
    assert (cleaned.code, cleaned.out) == (0, f"{folder} is removed.\n")
    assert "pushed folders, 0 results, a Python environment." in " ".join(cleaned.err.split())
    assert f'python = "{board.python}"\n' in Path("config/devices/pi5.toml").read_text()
    assert cli("devices", "clean", "pi5").out == "There is nothing of edgeopt's on ssh://board.\n"


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self):
        return True


@pytest.mark.slow
def test_prepare_and_clean_as_json_with_the_question_on_standard_error(cli, board, runtime, monkeypatch):
    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python)
    folder = f"{board.workdir}/.cache/edgeopt"
    monkeypatch.setattr(sys, "stdin", Terminal("y\ny\n"))
    done = cli("devices", "prepare", "pi5", "--backend", "tflite", "--offline", "--json", "-")
    assert done.code == 0
    assert "with what these runners require:" in " ".join(done.err.split())
    python = f"{folder}/python/bin/python"
    found = json.loads(done.out)
    assert found["packages"].pop("numpy")
    assert found == {
        "device": {
            "name": "pi5",
            "uri": "ssh://board",
            "settings": {"python": python},
            "file": str(Path("config/devices/pi5.toml").absolute()),
            "own": True,
        },
        "python": python,
        "source": "wheels that were fetched here",
        "packages": {"edgeopt-test-runtime": "1.5"},
        "failed": {},
    }
    cleaned = cli("devices", "clean", "pi5", "--json", "-")
    assert cleaned.code == 0
    assert cleaned.err.endswith("a Python environment.\nGo on? [y/N]: ")
    removed = json.loads(cleaned.out)
    assert {"files", "python"} <= set(removed.pop("files"))
    assert removed.pop("bytes") > 100_000
    assert removed == {"name": "pi5", "uri": "ssh://board", "folder": folder}
    nothing = {"name": "pi5", "uri": "ssh://board", "folder": None, "bytes": 0, "files": []}
    assert json.loads(cli("devices", "clean", "pi5", "--json", "-").out) == nothing


@pytest.mark.slow
def test_prepare_as_json_says_which_backends_cannot_work_there(cli, board, runtime, monkeypatch):
    from edgeopt.registry import find_backends

    monkeypatch.setattr(find_backends().backends["tf-gpu"].backend, "requires", ("no-such-distribution-of-edgeopt>=1",))
    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python)
    both = ("--backend", "tflite", "--backend", "tf-gpu")
    done = cli("devices", "prepare", "pi5", *both, "--offline", "--yes", "--json", "-")
    assert done.code == 4
    found = json.loads(done.out)
    assert list(found["packages"]) == ["edgeopt-test-runtime", "numpy"]
    assert list(found["failed"]) == ["tf-gpu"]
    assert "no-such-distribution-of-edgeopt" in found["failed"]["tf-gpu"]["message"]
    assert set(found["failed"]["tf-gpu"]) == {"message", "hint"}


def test_who_says_no_has_changed_nothing(cli, board, monkeypatch):
    cli("devices", "add", "pi5", f"ssh://{board.alias}", "--python", board.python)
    monkeypatch.setattr(sys, "stdin", Terminal("n\nn\n"))
    for command in ("prepare", "clean"):
        ended = cli("devices", command, "pi5")
        assert (ended.code, ended.out) == (130, "")
        assert ended.err.endswith("Go on? [y/N]: error: nothing was done\n")
    assert board.run("ls .cache/edgeopt").stdout == "files\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "local"], "local is no device that you named"),
        (["prepare", "ssh://pi@pi5"], "ssh://pi@pi5 is no device that you named"),
        (["prepare", "pi5", "--backend", "tflit"], "no backend is called 'tflit'"),
        (["clean", "local"], "edgeopt has no work folder on this machine"),
        (["clean", "pi6"], "no device is called 'pi6'"),
    ],
)
def test_what_cannot_be_prepared_or_cleaned(cli, arguments, message):
    cli("devices", "add", "pi5", "ssh://pi5.invalid")
    ended = cli("devices", *arguments)
    assert (ended.code, ended.out, ended.err.splitlines()[0]) == (2, "", f"error: {message}")


def test_a_device_is_named_everywhere(cli):
    ended = cli("export", "-t", "tflite-int8", "--device", "pi6")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: no device is called 'pi6'")


def test_the_commands_of_the_documentation_are_there(cli):
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("edgeopt ")]
    assert {line.split()[1] for line in lines} == {"devices", "export", "profile"}
    for words in map(shlex.split, lines):
        ended = cli(*words[1 : 3 if words[1] == "devices" else 2], "--help")
        assert ended.code == 0
        assert all(word in ended.out for word in words[2:] if word.startswith("--")), words


def test_a_broken_project_does_not_keep_one_from_its_own_devices(cli):
    cli("devices", "add", "pi5", "ssh://pi@pi5")
    Path("edgeopt.toml").write_text("devices = 3")
    assert cli("devices").code == 8
    assert complete_device("p") == []
    assert cli("devices", "remove", "pi5").out == "pi5 is removed, it was ssh://pi@pi5\n"


def test_a_phone_without_python_is_shown_all_the_same(cli, adb_phone, monkeypatch):
    monkeypatch.setenv(adb.COMMAND_VARIABLE, f"adb -P {adb_phone.server.port}")
    ended = cli("devices", "check", f"adb://{adb_phone.serial}")
    assert ended.code == 4
    said = dict(line.split(maxsplit=1) for line in ended.out.splitlines() if line.startswith(("python", "cores")))
    assert said["python"] == "none"
    assert said["cores"].endswith("for a process")
    assert ended.out.count("python3 is not there") == 1
    assert "--native-program" in ended.out
    assert cli("devices", "check", f"adb://{adb_phone.serial}", "--json", "-").out.startswith("{")


def test_an_emulated_processor_with_a_name(cli, tmp_path):
    added = cli("devices", "add", "old", "qemu://Haswell")
    assert (added.code, added.err) == (0, "")
    assert (tmp_path / "config" / "devices" / "old.toml").read_text() == 'uri = "qemu://Haswell"\n'
    assert find_device("old").name == "old"
    wrong = cli("devices", "add", "older", "qemu://Nehalem", "--python", "python3.11")
    assert (wrong.code, wrong.err.splitlines()[0]) == (
        2,
        "error: device 'older': python is for ssh and adb only",
    )
    prepared = cli("devices", "prepare", "old", "--yes")
    assert prepared.code == 2
    assert prepared.err.splitlines() == [
        "error: old is this machine with another processor: there is nothing to prepare",
        "hint: install packages here, with pip",
    ]
    cleaned = cli("devices", "clean", "qemu://Haswell", "--yes")
    assert cleaned.err == "error: qemu://Haswell is this machine with another processor: there is nothing to clean\n"
