"""A qemu-user that emulates x86 processors correctly: that of this machine, or Debian's newer one."""

import shutil
from pathlib import Path

from edgeopt.devices.emulated import find_qemu
from edgeopt.errors import DeviceError
from tests.standins import cache, needs, rootfs

SUITE = "trixie"
"""The oldest release of Debian whose qemu is new enough."""


def folder():
    """The folder with the program `qemu-x86_64`, to be put first on the PATH."""
    try:
        return Path(find_qemu()[0]).parent
    except DeviceError:
        needs.require("mmdebstrap", "apt-get", root=True)
        return cache.built("qemu-user", f"{SUITE} {Path(__file__).read_text()}", _build) / "bin"


def _build(folder):
    rootfs.unpack(folder / "root", "amd64", SUITE, "qemu-user")
    (folder / "bin").mkdir()
    shutil.move(folder / "root" / "usr" / "bin" / "qemu-x86_64", folder / "bin" / "qemu-x86_64")
    shutil.rmtree(folder / "root")
