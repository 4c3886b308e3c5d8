"""A device behind ssh, through the system's OpenSSH: aliases, keys, agents and jumps work as configured.

One master connection per device carries everything. It runs `cat` there on a pipe from this process, so that it ends
with this process in every case. Host keys are always checked; passwords are never requested.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.devices.link import Reason, explain
from edgeopt.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND_VARIABLE = "EDGEOPT_SSH"
"""Environment variable: a command to use instead of `ssh`, for instance `ssh -F team_config`."""
CONNECT_S = 10
ALIVE_S, ALIVE_COUNT = 5, 3
"""Interval of the keep-alive messages; the connection is lost after this many without an answer."""
READY_S = 60.0
POLL_S = 0.02
NO_OTHER_WAY = "false"
JUMP = re.compile(r"(?:[\w.][\w.-]*@)?(?:\w[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
"""A valid host for `ssh -J`: ssh passes it to a shell, and older versions do not check it."""
SOCKET = "s"
"""Short: the path of a socket may have at most 90 characters."""
REASONS = (
    Reason(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host key of {host} has changed: it is another machine, or somebody is in between",
        "if it was installed anew: ssh-keygen -R {known}, then {login} once and compare the fingerprint",
    ),
    Reason(
        r"No \S+ host key is known|Host key verification failed",
        "the host key of {host} is unknown",
        "run {login} once and compare the fingerprint that it shows with the device's",
    ),
    Reason(
        r"Permission denied",
        "{host} accepts none of your keys",
        "copy one to it: {copy}, or name it: edgeopt devices add NAME URI --key FILE",
    ),
    Reason(r"Could not resolve hostname", "there is no host called {host}", "is the name spelled as in ~/.ssh/config?"),
    Reason(
        r"Connection refused",
        "{host} runs no ssh server at that port",
        "is ssh switched on there, and the port right?",
        passes=True,
    ),
    Reason(
        r"timed out|No route to host|Network is unreachable|Host is down",
        "{host} does not answer",
        "is it switched on, and in this network?",
        passes=True,
    ),
    Reason(
        r"Connection (to \S+ )?(closed|reset)|Broken pipe|not responding",
        "{host} closed the connection",
        "is it still running?",
        passes=True,
    ),
)


class SshTransport:
    """Runs shell commands on a machine behind ssh.

    Args:
        host: A name, an address, or an alias of the user's ssh configuration.
        user: Login name; ssh's default if empty.
        port: Port of the server; ssh's default if None.
        key: File of a private key; ssh's defaults if None.
        jump: Jump host, as for `ssh -J`.
        workdir: The folder for edgeopt's files there; `~/.cache/edgeopt` if empty.
    """

    def __init__(  # noqa: PLR0913 - the settings of one device
        self,
        host: str,
        *,
        user: str = "",
        port: int | None = None,
        key: Path | None = None,
        jump: str = "",
        workdir: str = "",
    ) -> None:
        if not re.fullmatch(r"[\w.:\[\]%][\w.:\[\]%-]*", host) or (user and not re.fullmatch(r"[\w.][\w.@\\-]*", user)):
            raise DeviceError(f"{user + '@' if user else ''}{host} is no address for ssh", hint="ssh://user@host:port")
        if jump and not all(JUMP.fullmatch(host) for host in jump.split(",")):
            raise DeviceError(f"{jump} is no host to jump over", hint="user@host:port, several with commas")
        self.uri = f"ssh://{user + '@' if user else ''}{host}{f':{port}' if port else ''}"
        self.workdir = shlex.quote(workdir) if workdir else '"$HOME"/.cache/edgeopt'
        self._host = host
        self._user, self._port, self._key, self._jump = user, port, key, jump
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._master: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def lost(self) -> bool:
        """Whether the master connection has ended; commands over it then end by themselves."""
        master = self._master
        return self._closed or (master is not None and master.poll() is not None)

    def connect(self) -> None:
        """Open the master connection; an older one is closed.

        Raises:
            DeviceError: The device cannot be reached, its host key is unknown or has changed, or it rejects the user's
                keys.
        """
        self._drop()
        if self._closed:
            raise DeviceError(f"{self.uri} was let go of")
        self._folder = tempfile.TemporaryDirectory(prefix="edgeopt-", dir="/tmp")
        argv = [*self._program(), "-M", "-S", self._socket, *self._detour(), *self._options()]
        argv += ["--", self._host, "cat >/dev/null"]
        try:
            with self._log.open("wb") as log:
                master = self._master = subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
                )
        except OSError as error:
            self._drop()
            message = f"{argv[0]} cannot be started: {error.strerror}"
            raise DeviceError(message, hint="install OpenSSH's client") from error
        until = time.monotonic() + READY_S
        while not Path(self._socket).exists():
            if master.poll() is not None or self._closed or time.monotonic() > until:
                cause = self.why("")
                self._drop()
                raise cause
            time.sleep(POLL_S)

    def argv(self, command: str) -> list[str]:
        """Return the ssh command line that runs a command over the master connection, and only over it."""
        # Without a master connection, ssh would open its own, which nobody would end.
        only = ["-S", self._socket, "-o", "ControlMaster=no", "-o", f"ProxyCommand={NO_OTHER_WAY}"]
        return [*self._program(), *only, *self._options(), "--", self._host, command]

    def why(self, said: str) -> DeviceError:
        """Return the error that ssh's output means, including that of the master connection."""
        with suppress(OSError, DeviceError):  # it may be closed already
            said += self._log.read_text("utf-8", "replace")
        names = {"host": self._host, "known": self._known()}
        names |= {"login": shlex.join(self._login()), "copy": shlex.join(self._copying())}
        return explain(said, REASONS, names, f"ssh to {self._host} ended")

    def close(self) -> None:
        """End the master connection and all commands over it, even while another thread is connecting."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        """End the master connection, if any."""
        master, self._master = self._master, None
        folder, self._folder = self._folder, None
        if master is not None:
            if master.stdin is not None:
                with suppress(OSError):
                    master.stdin.close()
            master.terminate()
            try:
                master.wait(ALIVE_S)
            except subprocess.TimeoutExpired:
                master.kill()
                master.wait()
        if folder is not None:
            folder.cleanup()

    @property
    def _socket(self) -> str:
        return str(self._private / SOCKET)

    @property
    def _log(self) -> Path:
        return self._private / "log"

    @property
    def _private(self) -> Path:
        if self._folder is None:
            raise DeviceError(f"{self.uri} is not connected")
        return Path(self._folder.name)

    def _program(self) -> list[str]:
        return shlex.split(os.environ.get(COMMAND_VARIABLE, "")) or ["ssh"]

    def _options(self) -> list[str]:
        return [*self._address(), "-T", *(part for option in self._settings() for part in ("-o", option))]

    def _settings(self) -> Iterator[str]:
        yield "BatchMode=yes"
        yield "StrictHostKeyChecking=yes"
        yield f"ConnectTimeout={CONNECT_S}"
        yield f"ServerAliveInterval={ALIVE_S}"
        yield f"ServerAliveCountMax={ALIVE_COUNT}"
        yield "ControlPersist=no"
        if self._key is not None:
            yield "IdentitiesOnly=yes"

    def _address(self) -> list[str]:
        """Return the user's login name, port and key as arguments of ssh."""
        return [
            *(["-l", self._user] if self._user else []),
            *(["-p", str(self._port)] if self._port else []),
            *(["-i", str(self._key.expanduser())] if self._key else []),
        ]

    def _detour(self) -> list[str]:
        """Return the argument for the jump host; commands over the master connection must not have it."""
        return ["-J", self._jump] if self._jump else []

    def _login(self) -> list[str]:
        """Return the command for a person to log in."""
        return [*self._program(), *self._detour(), *self._address(), self._host]

    def _copying(self) -> list[str]:
        """Return the command for a person to copy a key there; it accepts fewer options than ssh."""
        return [
            "ssh-copy-id",
            *(["-p", str(self._port)] if self._port else []),
            *(["-i", str(self._key.expanduser())] if self._key else []),
            *(["-o", f"ProxyJump={self._jump}"] if self._jump else []),
            f"{self._user}@{self._host}" if self._user else self._host,
        ]

    def _known(self) -> str:
        """Return the device's name in the known hosts file."""
        return shlex.quote(f"[{self._host}]:{self._port}" if self._port else self._host)
