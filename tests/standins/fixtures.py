"""The stand-ins as fixtures. One that a test may break is started anew for every test, which costs it 0.1 s or less."""

import contextlib

import pytest

from tests.standins import machine, needs, rootfs
from tests.standins.adbd import AdbServer, Phone
from tests.standins.boards import PI4, PI5
from tests.standins.relay import Relay
from tests.standins.roots import OtherRoot
from tests.standins.silent_phone import SilentPhone
from tests.standins.sshd import Sshd


@pytest.fixture
def sshd(tmp_path):
    """A board behind OpenSSH."""
    needs.require("sshd", "ssh", "ssh-keygen")
    with Sshd(tmp_path / "sshd") as device:
        yield device


@pytest.fixture
def sshd_no_sftp(tmp_path):
    """A board behind an OpenSSH that offers no sftp."""
    needs.require("sshd", "ssh", "ssh-keygen")
    with Sshd(tmp_path / "sshd", sftp=False) as device:
        yield device


@pytest.fixture
def dropbear(tmp_path):
    """A board behind dropbear, as routers and small images have it."""
    needs.require("dropbear", "dropbearconvert", "ssh", "ssh-keygen", root=True)
    with Sshd(tmp_path / "dropbear", server="dropbear") as device:
        yield device


@pytest.fixture
def relay():
    """A function that puts a relay in front of a port on loopback and returns it."""
    with contextlib.ExitStack() as relays:
        yield lambda port: relays.enter_context(Relay(port))


@pytest.fixture
def arm_board(tmp_path):
    """A Raspberry Pi 5, as far as programs can tell: Debian arm64 with NumPy and LiteRT, emulated."""
    needs.require("ssh", "ssh-keygen")
    with Sshd(tmp_path / "arm", root=OtherRoot(rootfs.made(rootfs.BOARD), PI5)) as device:
        yield device


@pytest.fixture
def old_board(tmp_path):
    """A Raspberry Pi 4 with a system that is too old for the LiteRT which is installed on it."""
    needs.require("ssh", "ssh-keygen")
    with Sshd(tmp_path / "old", root=OtherRoot(rootfs.made(rootfs.OLD_BOARD), PI4)) as device:
        yield device


@pytest.fixture
def adb_server(tmp_path):
    """An adb server to which only the phones of this test are connected."""
    needs.require("adb")
    with AdbServer(tmp_path / "adb") as server:
        yield server


@pytest.fixture
def adb_phone(tmp_path, adb_server):
    """A phone without Python, as phones are."""
    needs.require("ip", root=True)
    with Phone(tmp_path / "phone", adb_server, OtherRoot(rootfs.made(rootfs.PHONE))) as phone:
        yield phone


@pytest.fixture
def python_phone(tmp_path, adb_server):
    """A phone with Python, NumPy and LiteRT."""
    needs.require("ip", root=True)
    with Phone(tmp_path / "python-phone", adb_server, OtherRoot(rootfs.made(rootfs.PYTHON_PHONE))) as phone:
        yield phone


@pytest.fixture
def adb_unauthorized(adb_server):
    """A phone whose owner has not allowed this machine."""
    with SilentPhone(adb_server, "unauthorized") as phone:
        yield phone


@pytest.fixture
def adb_offline(adb_server):
    """A phone that does not answer."""
    with SilentPhone(adb_server, "offline") as phone:
        yield phone


@pytest.fixture
def emulated_machine(request, tmp_path):
    """A whole machine whose clock counts instructions: a Cortex-A76, or what an indirect parameter names."""
    needs.require("qemu-system-aarch64", "ssh")
    with machine.Machine(tmp_path / "machine", machine.made(), getattr(request, "param", "cortex-a76")) as started:
        yield started
