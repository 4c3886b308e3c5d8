"""A device that is reached over ssh: the real OpenSSH server, or dropbear, on loopback with keys of its own."""

import getpass
import time
from pathlib import Path

from tests.standins import confined, needs, ports, roots
from tests.standins.limits import NO_LIMITS
from tests.standins.sshhost import SshHost, new_key

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {etc}/host_key
AuthorizedKeysFile {etc}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
UseDNS no
LogLevel VERBOSE
"""
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
LISTENS = {"openssh": b"Server listening", "dropbear": b"Not backgrounding"}
START_LIMIT_S = 30


class Sshd(SshHost):
    """A board with an ssh server; `with` starts and stops it, and it may be stopped and started again in between.

    As root it has a user `pi` whom this machine does not know, and its own process numbers, `/home`, `/run` and `/tmp`:
    what lies in `/tmp` here is not there. Otherwise one logs in as oneself, with a home folder of one's own.

    Args:
        folder: where keys, logs and the home folder lie.
        server: `openssh` or `dropbear` (root only, has no sftp).
        sftp: whether the server offers it.
        root: what the device sees as its files; that of this machine if not given.
        limits: of its memory and its disk (root only).
    """

    def __init__(self, folder, *, server="openssh", sftp=True, root=None, limits=NO_LIMITS):
        self.confined = needs.privileged()
        super().__init__(folder, ports.reserve(), "pi" if self.confined else getpass.getuser())
        self.server, self.sftp, self.limits = server, sftp and server == "openssh", limits
        self.log = self.folder / "log"
        self._mark = confined.Marked.new_mark()
        self._processes = None
        self._home = self.folder / "home" / "pi"
        self._home.mkdir(parents=True)
        self._root = (root or roots.OwnRoot(self.user)) if self.confined else None
        new_key(self.key)
        new_key(self.folder / "host_key")
        self.introduce((self.folder / "host_key.pub").read_text())
        (self.folder / "authorized_keys").write_text(Path(f"{self.key}.pub").read_text())

    @property
    def workdir(self):
        """The home folder, as the device names it."""
        return "/home/pi" if self.confined else str(self._home)

    @property
    def python(self):
        """A Python on the device, with NumPy and LiteRT where this machine's has them."""
        return self._root.python if self.confined else roots.OWN_PYTHON

    def path(self, name):
        """Where this machine finds a file of the device, while that is running."""
        if self.confined:
            return Path(f"/proc/{self._processes.first}/root") / str(name).lstrip("/")
        return Path(name)

    def start(self):
        """Switch it on: the same port, keys and home folder as before."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        self._processes = self._launch()
        end = time.monotonic() + START_LIMIT_S
        while LISTENS[self.server] not in (said := self.log.read_bytes()[seen:]):
            if not self._processes.running or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"the ssh server did not start: {said.decode(errors='replace')[-1000:]}")
            time.sleep(0.01)
        return self

    def _launch(self):
        if self.confined:
            return confined.Namespace(self._script(), self.log, prefix=self.limits.prefix)
        config = self._write_config(self.folder)
        return confined.Marked([needs.program("sshd"), "-D", "-e", "-f", config], self.log, self._mark)

    def _write_config(self, etc):
        lines = CONFIG.format(port=self.port, etc=etc)
        if self.sftp:
            lines += f"Subsystem sftp {SFTP_SERVER}\n"
        environment = dict(self._root.environment) if self.confined else {"HOME": self._home}
        if not self.confined:
            environment["EDGEOPT_STANDIN"] = self._mark
            # The server goes into the home folder that the system knows; that of the user is not for tests.
            lines += 'ForceCommand cd "$HOME" && exec "$SHELL" -c "${SSH_ORIGINAL_COMMAND:-exec $SHELL}"\n'
        if environment:
            lines += "SetEnv " + " ".join(f"{name}={value}" for name, value in environment.items()) + "\n"
        config = self.folder / "sshd_config"
        config.write_text(lines)
        return config

    def _script(self):
        """Shell lines that end as the server, in the mount namespace of the device."""
        self._write_config("/run/edgeopt")
        lines = self._root.mounts(self.folder, self.limits.disk_bytes)
        if not self.sftp:
            lines.append(
                f"[ ! -e {self._root.path}{SFTP_SERVER} ] || mount --bind /dev/null {self._root.path}{SFTP_SERVER}"
            )
        if self.server == "dropbear":
            return "\n".join([*lines, *self._dropbear_lines()])
        return "\n".join([*lines, f"exec {self._root.enter} /usr/sbin/sshd -D -e -f /run/edgeopt/sshd_config"])

    def _dropbear_lines(self):
        return [
            "mkdir -p /home/pi/.ssh && cp /run/edgeopt/authorized_keys /home/pi/.ssh/",
            "chown -R pi:pi /home/pi/.ssh && chmod 700 /home/pi/.ssh",
            "dropbearconvert openssh dropbear /run/edgeopt/host_key /run/edgeopt/dropbear_key",
            f"exec dropbear -F -E -s -p 127.0.0.1:{self.port} -r /run/edgeopt/dropbear_key -P /run/edgeopt/pid",
        ]

    def stop(self):
        """Take the power away: nothing on the device is left running."""
        if self._processes:
            self._processes.end()

    def change_host_key(self):
        """Come back as a reinstalled device does, with a key that its clients do not expect."""
        self.stop()
        new_key(self.folder / "host_key")
        self.start()

    def sessions(self):
        """Process numbers of the server's side of the connections that are open."""
        return [pid for pid in self._processes.members() if pid != self._processes.first and self._serves(pid)]

    def _serves(self, pid):
        return confined.program(pid).startswith(("sshd", "dropbear"))

    def processes(self):
        """What runs on the device besides the server: process number to command line."""
        return {
            pid: confined.command(pid)
            for pid in self._processes.members()
            if pid != self._processes.first and not self._serves(pid)
        }

    def kill_sessions(self):
        """Cut all connections. What they have started on the device may go on, as after any lost link."""
        confined.kill(self.sessions())

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        ports.release(self.port)
