"""How a stand-in is reached over ssh: keys and client files of its own, never those of the user who runs the tests."""

import subprocess
from pathlib import Path

CONFIG = """\
Host {alias}
  HostName {host}
  Port {port}
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
"""


def new_key(path):
    """Write a new pair of keys; the public one ends in `.pub`."""
    for old in (path, Path(f"{path}.pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "standin", "-f", path], check=True)


class SshHost:
    """A machine with an ssh server: where it is, and the files of a client that knows it.

    `ssh -F config board` logs in. `known_hosts` lists its key as a client has seen it, and may be changed by a test.
    """

    host = "127.0.0.1"
    alias = "board"

    def __init__(self, folder, port, user, key=None):
        self.folder, self.port, self.user = Path(folder), port, user
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = key or self.folder / "client_key"
        self.known_hosts = self.folder / "known_hosts"
        self.config = self.folder / "ssh_config"

    def introduce(self, public_key):
        """Write what a client has that knows this machine by its public key."""
        kind, key = public_key.split()[:2]
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {kind} {key}\n")
        names = ("alias", "host", "port", "user", "key", "known_hosts")
        self.config.write_text(CONFIG.format(**{name: getattr(self, name) for name in names}))

    def through(self, port):
        """The same machine behind another port, such as that of a relay."""
        other = SshHost(self.folder / f"through-{port}", port, self.user, self.key)
        other.introduce(self.known_hosts.read_text().split(maxsplit=1)[1])
        return other

    def ssh(self, *arguments):
        """The command line of a client that asks no questions."""
        return ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", self.alias, *arguments]

    def run(self, command, *, timeout=60, **options):
        """Run a shell command there; exit code, standard output and standard error as text."""
        return subprocess.run(
            self.ssh(command), check=False, **{"capture_output": True, "text": True, "timeout": timeout, **options}
        )
