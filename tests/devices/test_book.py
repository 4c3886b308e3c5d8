"""Devices that have a name: what is written down of them, by the user and by a project that may be a stranger's."""

import threading
from pathlib import Path

import pytest

from edgeopt.devices import LOCAL, book, open_device, remote_device
from edgeopt.devices.book import Entry, find_entries, find_entry, make_entry, parse_cores, remove, save
from edgeopt.devices.ssh import SshTransport
from edgeopt.errors import BadInputError, DeviceError, UsageError

pytestmark = pytest.mark.quick

PI = {"uri": "ssh://pi@pi5:2222", "python": "/usr/bin/python3.11", "workdir": "/home/pi/a 'b'", "cores": "0,2-3"}


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    """The user's config folder; the current folder is an empty one."""
    monkeypatch.setenv(book.CONFIG_VARIABLE, str(tmp_path / "config"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "config"


def test_what_is_saved_is_found_again_and_the_others_stay(config):
    saved = save(make_entry("pi5", PI))
    assert saved.file == config / "devices" / "pi5.toml"
    save(make_entry("pi4", {"uri": 'ssh://pi@pi4"\\é'}))
    (config / "devices" / "broken.toml").write_text("uri = ")
    assert find_entry("pi5") == Entry("pi5", **PI, file=saved.file, is_own=True)
    assert find_entry("pi4").uri == 'ssh://pi@pi4"\\é'
    save(make_entry("pi5", {"uri": "ssh://other"}))
    assert find_entry("pi5").settings == {"uri": "ssh://other"}
    assert list(find_entries()) == ["broken", "pi4", "pi5"]
    assert remove("pi4").name == "pi4"
    assert [path.name for path in sorted((config / "devices").iterdir())] == ["broken.toml", "pi5.toml"]


def test_a_broken_entry_fails_alone_and_only_when_it_is_named(config):
    save(make_entry("pi5", PI))
    (config / "devices" / "broken.toml").write_text("uri = ")
    assert "it is no valid TOML" in find_entries()["broken"].problem.message
    with pytest.raises(BadInputError, match="it is no valid TOML"):
        find_entry("broken")
    assert find_entry("pi5").name == "pi5"


def test_writing_at_the_same_time_leaves_one_whole_entry(config):
    texts = [f"ssh://host{number}" + "x" * 500 for number in range(8)]
    threads = [threading.Thread(target=lambda uri=uri: save(make_entry("pi5", {"uri": uri}))) for uri in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert find_entry("pi5").uri in texts
    assert [path.name for path in (config / "devices").iterdir()] == ["pi5.toml"]


def test_a_folder_that_cannot_be_written_to(config):
    config.write_text("a file")
    with pytest.raises(BadInputError, match=r"pi5\.toml cannot be written: Not a directory"):
        save(make_entry("pi5", PI))
    assert find_entries() == {}


def test_a_project_names_devices_for_its_team_and_the_users_own_come_first():
    Path("edgeopt.toml").write_text(
        '[devices.pi5]\nuri = "ssh://team"\nkey = "keys/team"\n[devices.nas]\nuri = "ssh://n"\n'
    )
    found = find_entry("pi5")
    assert (found.uri, found.key, found.is_own) == ("ssh://team", str(Path.cwd() / "keys" / "team"), False)
    save(make_entry("pi5", {"uri": "ssh://mine"}))
    assert [(entry.name, entry.uri) for entry in find_entries().values()] == [("nas", "ssh://n"), ("pi5", "ssh://mine")]
    assert find_entry("pi5").uri == "ssh://mine"
    with pytest.raises(UsageError, match="nas is a device of the project") as caught:
        remove("nas")
    assert caught.value.hint == f"take it out of {Path.cwd() / 'edgeopt.toml'}"


def test_devices_in_pyproject():
    Path("pyproject.toml").write_text('[tool.edgeopt.devices.pi5]\nuri = "ssh://team"\n')
    assert find_entry("pi5").file == Path.cwd() / "pyproject.toml"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[devices]\npi5 = 3", "uri must be a text in one line"),
        ("[devices.pi5]\nhost = 'x'", "unknown key 'host'; valid are uri, key, jump, python, workdir, cores"),
        ("[devices.pi5]\npython = 'python3'", "it has no uri"),
        ("[devices.pi5]\nuri = 'pi'", "'pi' is no address"),
        ("[devices.pi5]\nuri = 'ssh://a\\u001b[31m'", "uri must be a text in one line"),
        ("[devices.pi5]\nuri = 'ssh://a'\ncores = 4", "cores must be a text in one line"),
        ("[devices.pi5]\nuri = 'ssh://a'\ncores = '4-'", "cores '4-': '4-' names no cores"),
        ("[devices.pi5]\nuri = 'ssh://a'\nworkdir = '~/x'", "workdir '~/x' is no absolute path"),
        ("[devices.pi5]\nuri = 'ssh://a'\npython = '/sbin/reboot'", "'/sbin/reboot' is not called like a Python"),
        ("[devices.pi5]\nuri = 'ssh://a'\npython = 'python3 x'", "'python3 x' is not called like a Python"),
        ("[devices.pi5]\nuri = 'adb://1'\njump = 'a'", "jump is for ssh only"),
        ("[devices.'$(x)']\nuri = 'ssh://a'", "device '$(x)': it cannot be called so"),
        ("[devices.local]\nuri = 'ssh://a'", "device 'local': it cannot be called so"),
        ("[devices.'..']\nuri = 'ssh://a'", "device '..': it cannot be called so"),
    ],
)
def test_what_a_project_cannot_say(text, problem):
    Path("edgeopt.toml").write_text(text.replace("'ssh://a\\u001b[31m'", '"ssh://a\\u001b[31m"'))
    (entry,) = find_entries().values()
    assert problem in entry.problem.message
    assert entry.settings == {}
    assert find_entry("ssh://other").uri == "ssh://other"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"uri": "ssh://-oProxyCommand=touch x"}, "is no address for ssh"),
        ({"uri": "ssh://a", "jump": "-oProxyCommand=touch x"}, "is no host to jump over"),
        ({"uri": "ssh://a", "jump": "me@$(touch x)"}, "is no host to jump over"),
        ({"uri": "ssh://a", "jump": "me@a;touch x"}, "is no host to jump over"),
        ({"uri": "ssh://a", "jump": "a,,b"}, "is no host to jump over"),
        ({"uri": "ssh://a", "key": "nowhere"}, "the key .*nowhere of pi5 is not there"),
    ],
)
def test_what_would_run_something_never_gets_to_ssh(said, message):
    with pytest.raises(DeviceError, match=message):
        remote_device(make_entry("pi5", said, Path.cwd() / "edgeopt.toml", is_own=False))


@pytest.mark.parametrize("jump", ["a", "me@gate-way.example:2222", "a,b@c,d:22", "me@[fe80::1]:22"])
def test_hosts_to_jump_over(jump):
    assert SshTransport("a", jump=jump).uri == "ssh://a"


@pytest.mark.parametrize(
    ("text", "cores"), [("4-7", (4, 5, 6, 7)), ("0,2", (0, 2)), (" 3 , 0-1,1", (0, 1, 3)), ("0", (0,))]
)
def test_cores(text, cores):
    assert parse_cores(text) == cores


@pytest.mark.parametrize(("text", "part"), [("", ""), ("3-1", "3-1"), ("0,,1", ""), ("a", "a"), ("0-9999", "0-9999")])
def test_what_names_no_cores(text, part):
    with pytest.raises(BadInputError) as caught:
        parse_cores(text)
    assert caught.value.message == f"cores {text!r}: {part!r} names no cores"
    assert caught.value.hint == "for instance 4-7, or 0,2; the first one is 0"


def test_a_wrong_name_gets_a_suggestion():
    save(make_entry("pi5", PI))
    with pytest.raises(UsageError, match="no device is called 'pi6'") as near:
        open_device("pi6")
    assert near.value.hint == "did you mean pi5?"
    with pytest.raises(UsageError) as far:
        open_device("toaster")
    assert far.value.hint == "known: local, pi5; add one: edgeopt devices add NAME ssh://user@host"
    with pytest.raises(UsageError, match="no device is called 'http://x'"):
        open_device("http://x")
    assert open_device(LOCAL).uri == LOCAL
