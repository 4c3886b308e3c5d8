"""What a confined device sees as its files: those of this machine, or another system's."""

import os
import sys
from pathlib import Path

from tests.standins import boards
from tests.standins.foreign import register

PI = 1000
OWN_PYTHON = sys.executable


class OwnRoot:
    """The files of this machine, with one user more, and with `/home`, `/run` and `/tmp` of the device's own.

    So what lies in `/tmp` here, such as a file that a test has made, is not on the device.
    """

    path = ""
    enter = ""
    environment = ()
    python = "/run/edgeopt/python/bin/python3"

    def __init__(self, user):
        self._user = user

    def mounts(self, folder, disk_bytes=None):
        """Shell lines for the device's mount namespace; `folder` is that of the device on this machine."""
        for name, line in (
            ("passwd", f"{self._user}:x:{PI}:{PI}::/home/{self._user}:/bin/sh"),
            ("group", f"{self._user}:x:{PI}:"),
        ):
            # The first line for a name or a number counts.
            (folder / name).write_text(f"{line}\n{Path('/etc', name).read_text()}")
        return [
            "mount -t proc proc /proc",
            f"mount --bind '{folder}/passwd' /etc/passwd",
            f"mount --bind '{folder}/group' /etc/group",
            *home(folder, "", disk_bytes),
            *run_folder(folder, ""),
            *python_for_all(),
            "mount -t tmpfs -o mode=1777 tmpfs /tmp",
        ]


def python_for_all():
    """Shell lines that make the Python of the tests usable by everybody, though it may lie where only root may look."""
    lines = ["mkdir -p /run/edgeopt/python", f"mount --bind '{sys.prefix}' /run/edgeopt/python"]
    if Path(sys.base_prefix).is_relative_to(own := Path.home()):
        lines += [
            "mkdir /run/edgeopt/base",
            f"mount --bind '{sys.base_prefix}' /run/edgeopt/base",
            f"mount -t tmpfs -o mode=755 tmpfs '{own}' && mkdir -p '{sys.base_prefix}'",
            f"mount --bind /run/edgeopt/base '{sys.base_prefix}'",
        ]
    return lines


def home(folder, root, disk_bytes):
    """Shell lines that give the device its home folder: it survives a reboot unless its size is limited."""
    os.chown(folder / "home" / "pi", PI, PI)
    lines = [f"mount --bind '{folder}/home' '{root}/home'"]
    if disk_bytes:
        lines.append(f"mount -t tmpfs -o mode=755,uid={PI},gid={PI},size={disk_bytes} tmpfs '{root}/home/pi'")
    return lines


def run_folder(folder, root):
    """Shell lines that give the device a `/run` with what its ssh server reads.

    The user of the device could not read the folder of a test, which belongs to root alone.
    """
    run = f"{root}/run"
    return [
        f"mount -t tmpfs -o mode=755 tmpfs '{run}'",
        f"mkdir '{run}/sshd' '{run}/edgeopt'",
        f"cd '{folder}' && cp -p host_key authorized_keys sshd_config '{run}/edgeopt/' && cd /",
        f"chmod 644 '{run}/edgeopt/authorized_keys'",
    ]


class OtherRoot:
    """Another system's files, all but the home folder and the usual temporary ones read-only.

    Args:
        path: of the root filesystem.
        board: whose `/proc` and `/sys` are shown, and whose processor is emulated; none for this machine's own.
    """

    python = "/usr/bin/python3"

    def __init__(self, path, board=None):
        self.path, self._board = path, board
        self.enter = f"chroot '{path}'"
        self.environment = {"QEMU_CPU": board.cpu} if board else {}

    def mounts(self, folder, disk_bytes=None):
        """Shell lines for the device's mount namespace; `folder` is that of the device on this machine."""
        return [*self.base(folder), *home(folder, self.path, disk_bytes), *run_folder(folder, self.path)]

    def base(self, folder):
        """Shell lines for what is not the home folder nor the ssh server's."""
        root = self.path
        lines = [
            *(register() if self._board else []),
            f"mount --bind '{root}' '{root}' && mount -o remount,bind,ro '{root}'",
            f"mount -t proc proc '{root}/proc'",
            f"mount --rbind /dev '{root}/dev'",
            f"mount -t tmpfs -o mode=1777 tmpfs '{root}/tmp'",  # noqa: S108 - the device's
            "hostname standin",
        ]
        if self._board:
            boards.write(self._board, folder / "board")
            lines += [f"mount --bind '{folder}/board/{name}' '{root}/proc/{name}'" for name in ("cpuinfo", "meminfo")]
            lines += [f"mount --bind '{folder}/board/sys' '{root}/sys'", f"export QEMU_CPU={self._board.cpu}"]
        return lines
