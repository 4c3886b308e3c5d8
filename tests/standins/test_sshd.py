"""The ssh stand-ins are what they claim, as the plain `ssh` and `sftp` see them."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.standins import confined, needs, roots
from tests.standins.sshhost import new_key
from tests.standins.waiting import until

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent


def sftp(device, batch):
    return subprocess.run(
        ["sftp", "-F", device.config, "-b", "-", device.alias],
        input=batch,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_login_runs_commands_with_their_input_output_and_exit_code(sshd):
    done = sshd.run("id -un; cat; echo bad >&2; exit 7", input="in\0put")
    assert (done.returncode, done.stdout, done.stderr) == (7, f"{sshd.user}\nin\0put", "bad\n")
    assert sshd.run("pwd; echo $HOME").stdout == f"{sshd.workdir}\n{sshd.workdir}\n"


def test_the_user_and_the_temporary_folder_of_the_device_are_its_own(sshd, tmp_path):
    if not sshd.confined:
        pytest.skip("needs root")
    assert sshd.run("id").stdout == "uid=1000(pi) gid=1000(pi) groups=1000(pi)\n"
    assert "pi:x:1000:1000::/home/pi" not in Path("/etc/passwd").read_text()
    (tmp_path / "here").touch()
    assert sshd.run(f"test -e {tmp_path}").returncode == 1
    sshd.run("echo there > note")
    assert sshd.path("/home/pi/note").read_text() == "there\n"


def test_its_python_runs_numpy(sshd):
    assert sshd.run(f"{sshd.python} -c 'import numpy; print(numpy.arange(3).sum())'").stdout == "3\n"


def test_sftp_works(sshd, tmp_path):
    (tmp_path / "sent").write_bytes(os.urandom(100_000))
    assert sftp(sshd, f"put {tmp_path}/sent\nget sent {tmp_path}/back\n").returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()


def test_without_sftp_only_commands_work(sshd_no_sftp):
    assert sftp(sshd_no_sftp, "pwd\n").returncode != 0
    assert sshd_no_sftp.run("cat > f && cat f", input="x").stdout == "x"


def test_dropbear_has_no_sftp_and_runs_commands(dropbear):
    with socket.create_connection((dropbear.host, dropbear.port)) as connection:
        assert connection.recv(100).startswith(b"SSH-2.0-dropbear")
    assert sftp(dropbear, "pwd\n").returncode != 0
    assert dropbear.run("id -un; pwd; cat", input="x").stdout == "pi\n/home/pi\nx"


def test_only_its_own_key_and_its_own_alias_are_accepted(sshd):
    new_key(sshd.key)
    done = sshd.run("true")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_an_unknown_and_a_changed_host_key_are_refused(sshd):
    known = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text("")
    assert "Host key verification failed" in sshd.run("true").stderr
    sshd.known_hosts.write_text(known)
    assert sshd.run("true").returncode == 0
    sshd.change_host_key()
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in sshd.run("true").stderr


def test_a_reboot_ends_all_and_keeps_the_port_the_keys_and_the_files(sshd):
    with subprocess.Popen(
        sshd.ssh("echo 1 > kept; (setsid sleep 77 &) ; sleep 78"), stderr=subprocess.DEVNULL
    ) as client:
        until(lambda: len(sshd.processes()) >= 2)
        running = sshd.processes()
        sshd.stop()
        assert client.wait(timeout=10) == 255
    assert not [pid for pid in running if confined.is_alive(pid)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((sshd.host, sshd.port))
    sshd.start()
    assert sshd.run("cat kept").stdout == "1\n"
    until(lambda: sshd.processes() == {})


def test_a_cut_connection_leaves_the_job_which_can_be_seen(sshd):
    with subprocess.Popen(sshd.ssh("sleep 77"), stderr=subprocess.DEVNULL) as client:
        until(lambda: "sleep 77" in sshd.processes().values())
        sshd.kill_sessions()
        assert client.wait(timeout=10) == 255
    until(lambda: sshd.sessions() == [])
    assert "sleep 77" in sshd.processes().values()
    assert sshd.run("echo again").stdout == "again\n"


def test_nothing_runs_once_a_command_has_ended(sshd):
    assert sshd.run("true").returncode == 0
    until(lambda: sshd.processes() == {} and sshd.sessions() == [])


def test_an_ordinary_user_can_have_one(tmp_path_factory):
    """The same tests, run by a user without any rights, where root runs the suite."""
    needs.require("sshd", "setpriv", root=True)
    base = Path(tmp_path_factory.mktemp("plain"))
    shutil.copytree(HERE, base / "tests" / "standins", ignore=shutil.ignore_patterns("__pycache__"))
    (base / "tests" / "__init__.py").touch()
    (base / "pytest.ini").write_text("[pytest]\n")
    (base / "passwd").write_text("maker:x:1234:1234::/:/bin/sh\n" + Path("/etc/passwd").read_text())
    lines = [
        "mount --make-rprivate /",
        f"mount --bind {base}/passwd /etc/passwd",
        f"mount -t tmpfs tmpfs /run && mkdir /run/plain && mount --bind {base} /run/plain",
        *roots.python_for_all(),
        "cd /run/plain && mkdir scratch && chown -R 1234:1234 .",
        "export TMPDIR=/run/plain/scratch HOME=/run/plain PYTHONPATH=/run/plain CI=",
        "enter='setpriv --reuid=1234 --regid=1234 --clear-groups'",
        "plugins='-p tests.standins.fixtures -p no:cacheprovider'",
        "exec $enter /run/edgeopt/python/bin/python -m pytest -q -rs $plugins tests/standins/test_sshd.py",
    ]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", "\n".join(lines)], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed, 3 skipped" in done.stdout


def test_the_client_never_reads_the_files_of_the_user(sshd):
    shown = subprocess.run(
        ["ssh", "-F", sshd.config, "-G", sshd.alias], check=False, capture_output=True, text=True
    ).stdout
    settings = dict(line.split(" ", 1) for line in shown.splitlines())
    assert settings["identityfile"] == str(sshd.key)
    assert settings["userknownhostsfile"] == str(sshd.known_hosts)
    assert settings["identityagent"] == "none"
