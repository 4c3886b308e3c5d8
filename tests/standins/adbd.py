"""An Android phone: AOSP's own adbd in an Android-like tree, reached by the real `adb` through a relay on loopback."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.standins import confined, no_vsock, ports, setns
from tests.standins.limits import NO_LIMITS
from tests.standins.phone_files import SHELL
from tests.standins.relay import Relay

ADBD_PORT = 5555  # in the phone's own network
START_LIMIT_S = 20
# It looks for no emulator, no USB and no neighbours: only what a test connects is there.
ALONE = {
    "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
    "ADB_EMU": "0",
    "ADB_USB": "0",
    "ADB_MDNS": "0",
    "ADB_MDNS_OPENSCREEN": "0",
    "ADB_MDNS_AUTO_CONNECT": "0",
}
PHONE_ENVIRONMENT = {
    "PATH": "/system/bin:/usr/bin:/bin:/usr/sbin",
    "HOME": "/data/local/tmp",
    "TMPDIR": "/data/local/tmp",
    "ANDROID_DATA": "/data",
    "ANDROID_ROOT": "/system",
}


class AdbServer:
    """The host's side: a server of its own on its own port, with keys of its own; the user's is not touched.

    `environment` is what a client needs so that it finds this one.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = ports.reserve()
        self.environment = {"ANDROID_ADB_SERVER_PORT": str(self.port)}

    def adb(self, *arguments, timeout=60, **options):
        """Run `adb`; exit code, standard output and standard error as text."""
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        environment = {**os.environ, **ALONE, **own, **self.environment}
        return subprocess.run(
            ["adb", *arguments],
            env=environment,
            check=False,
            **{"capture_output": True, "text": True, "timeout": timeout, **options},
        )

    def states(self):
        """What `adb devices` says: serial to state."""
        lines = self.adb("devices").stdout.splitlines()
        return dict(line.split("\t") for line in lines if "\t" in line)

    def __enter__(self):
        assert self.adb("start-server").returncode == 0
        return self

    def __exit__(self, *_):
        self.adb("kill-server")
        ports.release(self.port)


class Phone:
    """A phone that an adb server is connected to; `with` starts and stops it, and it may be off in between.

    Args:
        folder: where logs and the phone's own files lie.
        server: the host's adb server.
        root: what the phone sees as its files.
        limits: of its memory and its disk.
    """

    workdir = "/data/local/tmp"

    def __init__(self, folder, server, root, *, limits=NO_LIMITS):
        self.folder, self.server, self._root, self._limits = Path(folder), server, root, limits
        (self.folder / "data").mkdir(parents=True)
        os.chown(self.folder / "data", SHELL, SHELL)
        self.log = self.folder / "log"
        self._processes = None
        self.link = Relay(connect=self._connect)

    @property
    def serial(self):
        return f"127.0.0.1:{self.link.port}"

    def _connect(self):
        return setns.connect(self._processes.outer, ADBD_PORT)

    def adb(self, *arguments, **options):
        """Run `adb` for this phone."""
        return self.server.adb("-s", self.serial, *arguments, **options)

    def path(self, name):
        """Where this machine finds a file of the phone, while that is running."""
        return Path(f"/proc/{self._processes.first}/root") / str(name).lstrip("/")

    def start(self):
        """Switch it on, with the files of before, and connect the server to it."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        self._processes = confined.Namespace(self._script(), self.log, prefix=self._limits.prefix, options=["--net"])
        end = time.monotonic() + START_LIMIT_S
        while b"adbd started" not in (said := self.log.read_bytes()[seen:]):
            if not self._processes.running or time.monotonic() > end:
                raise RuntimeError(f"adbd did not start: {said.decode(errors='replace')[-1000:]}")
            time.sleep(0.01)
        self.connect()
        return self

    def _script(self):
        tree, size = self._root.path, self._limits.disk_bytes
        environment = " ".join(f"{name}={value}" for name, value in PHONE_ENVIRONMENT.items())
        data = f"{tree}/data/local/tmp"
        lines = ["ip link set lo up", *self._root.base(self.folder), f"mount --bind '{self.folder}/data' '{data}'"]
        if size:
            lines.append(f"mount -t tmpfs -o mode=771,uid={SHELL},gid={SHELL},size={size} tmpfs '{data}'")
        enter = f"chroot --userspec={SHELL}:{SHELL} '{tree}' /usr/bin/env -i ADBD_PORT={ADBD_PORT} {environment}"
        return "\n".join([*lines, f"exec '{sys.executable}' '{no_vsock.__file__}' {enter} /usr/sbin/adbd"])

    def connect(self):
        """Connect the server to it, as after any lost link."""
        end = time.monotonic() + START_LIMIT_S
        while True:
            self.server.adb("connect", self.serial)
            if self.server.states().get(self.serial) == "device":
                return
            if time.monotonic() > end:
                raise RuntimeError(f"{self.serial} is {self.server.states().get(self.serial)}")
            time.sleep(0.05)

    def stop(self):
        """Take the power away."""
        self._processes.end()
        self.link.cut()

    def processes(self):
        """What runs on the phone besides adbd: process number to command line."""
        return {pid: confined.command(pid) for pid in self._processes.members() if pid != self._processes.first}

    def __enter__(self):
        self.link.__enter__()
        return self.start()

    def __exit__(self, *_):
        self.server.adb("disconnect", self.serial)
        self.stop()
        self.link.__exit__(*_)
