"""edgeopt's folder on a real device is taken away, and nothing else ever is."""

import fcntl
import shlex
from contextlib import closing

import pytest

from edgeopt.devices.book import CONFIG_VARIABLE, find_entry, forget_python, make_entry, save
from edgeopt.devices.remote import RemoteDevice
from edgeopt.devices.ssh import SshTransport
from edgeopt.devices.workfolder import clean, look
from edgeopt.errors import DeviceError
from tests.standins import needs

WORK = ".cache/edgeopt"


@pytest.fixture
def used(known, sshd, tmp_path):
    """A board with something of everything in its work folder, and the way to it."""
    (tmp_path / "read only").mkdir()
    (tmp_path / "read only" / "file").write_text("x")
    (tmp_path / "read only").chmod(0o555)
    with closing(RemoteDevice(SshTransport(known(sshd).alias), python=sshd.python)) as device:
        device.connect()
        device.push(tmp_path / "read only")
        device.claim(lambda text: None, 5)
        place = f"{device.folder}/jobs/{'1' * 32}-a result\n$(touch x)"
        sshd.run(f"mkdir -p {shlex.quote(place)} {WORK}/python {WORK}/python.partial")
        sshd.run(f'echo \'{{"base": "/usr/bin/python3.9"}}\' >{WORK}/python/edgeopt-environment.json')
    with closing(SshTransport(sshd.alias)) as transport:
        transport.connect()
        yield sshd, transport


def test_everything_of_ours_goes_and_the_rest_stays(used):
    board, transport = used
    board.run(
        f"mkdir {WORK}/../other; ln -s {board.workdir}/.cache/other {WORK}/jobs/{'0' * 32}-link; touch .cache/other/x"
    )
    found = look(transport)
    assert found.path == f"{board.workdir}/.cache/edgeopt"
    assert (found.count("files"), found.count("jobs"), found.strange, found.holder) == (3, 2, (), "")
    assert found.base == "/usr/bin/python3.9"
    assert found.size_bytes > 10_000
    clean(transport, found)
    assert board.run("find .cache").stdout.split() == [".cache", ".cache/other", ".cache/other/x"]
    assert look(transport).path == ""


@pytest.mark.parametrize(
    ("command", "strange"),
    [
        (f"touch {WORK}/thesis.tex", "thesis.tex"),
        (f"touch {WORK}/.hidden", ".hidden"),
        (f"touch {WORK}/files/photo.jpg", "files/photo.jpg"),
        (f"mkdir {WORK}/jobs/mine", "jobs/mine"),
        (f"ln -s / {WORK}/root", "root"),
        (f"rm {WORK}/python/edgeopt-environment.json", "python"),
        (f"touch \"{WORK}/$(printf 'files\\nx\\033[31m')\"", "files x"),
    ],
)
def test_what_is_not_ours_is_never_removed(used, command, strange):
    board, transport = used
    assert board.run(command).returncode == 0
    before = board.run(f"find {WORK}").stdout
    with pytest.raises(DeviceError) as caught:
        clean(transport, look(transport))
    assert caught.value.message == f"{board.workdir}/{WORK} holds what edgeopt did not put there: {strange}"
    assert caught.value.hint == "nothing was removed; move it, or remove the folder yourself"
    assert board.run(f"find {WORK}").stdout == before


def test_a_device_on_which_somebody_measures_is_left_alone(used):
    board, transport = used
    with closing(RemoteDevice(SshTransport(board.alias), python=board.python)) as device:
        device.connect()
        device.claim(lambda text: None, 5)
        with pytest.raises(DeviceError, match=r"ssh://board is in use by .*@.* \(process \d+\)"):
            clean(transport, look(transport))
    assert board.run(f"ls {WORK}/lock").returncode == 0


class Shell:
    """A small system's shell and programs, on this machine."""

    uri = "shell"
    lost = False

    def __init__(self, folder, shell, programs):
        self.workdir = shlex.quote(str(folder / "work"))
        (folder / "bin").mkdir()
        for name in ("cat", "cut", "du", "flock", "printf"):
            (folder / "bin" / name).symlink_to(needs.program(programs))
        self._start = ["env", f"PATH={folder / 'bin'}", needs.program(shell)]

    def argv(self, command):
        return [*self._start, "-c", command]


@pytest.mark.parametrize(("shell", "programs"), [("mksh", "toybox"), ("dash", "toybox")])
def test_the_shell_of_a_phone(tmp_path, shell, programs):
    needs.require(shell, programs)
    transport = Shell(tmp_path, shell, programs)
    assert look(transport).path == ""
    (tmp_path / "work" / "jobs" / "a\\tb").mkdir(parents=True)
    with (tmp_path / "work" / "lock").open("w") as lock:
        lock.write('{"owner": "somebody@there"}')
        lock.flush()
        assert look(transport).holder == ""
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert look(transport).holder == "somebody@there"
    assert look(transport).strange == ("jobs/a\\tb",)


def test_a_work_folder_with_any_name_on_a_small_server(known, dropbear):
    workdir = f"{dropbear.workdir}/a 'b' $(touch x)"
    with closing(SshTransport(known(dropbear).alias, workdir=workdir)) as transport:
        device = RemoteDevice(transport, python="/nowhere")
        device.connect()
        clean(transport, look(transport))
        assert look(transport).path == ""
    assert dropbear.run("ls").stdout == ""


def test_the_python_that_was_there_before_comes_back(tmp_path, monkeypatch):
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path))
    for python, after in (("/w/python/bin/python", "/usr/bin/python3"), ("/w2/python", "/w2/python"), ("", "")):
        said = {"uri": "ssh://a", "cores": "1", **({"python": python} if python else {})}
        forget_python(save(make_entry("pi5", said)), "/w", "/usr/bin/python3")
        assert find_entry("pi5").python == after
        assert find_entry("pi5").cores == "1"
