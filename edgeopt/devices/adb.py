"""An Android phone, through the user's `adb`: cables, network and emulators as `adb devices` shows them.

adb is unreliable: it lacks a checksum, returns 0 with half an answer if a cable is pulled, and waits forever for a
phone that hangs. This module detects a lost connection; `link.py` handles its effect on commands.
"""

from __future__ import annotations

import os
import selectors
import shlex
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeopt.devices.link import Reason, explain
from edgeopt.errors import DeviceError, LinkLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND_VARIABLE = "EDGEOPT_ADB"
"""Environment variable: a command to use instead of `adb`, for instance `adb -P 5038`."""
WORKDIR = "/data/local/tmp/edgeopt"
"""The only place in which adb's user may write and start programs."""
CONNECT_S = 20.0
"""Time limit of adb's own commands, and of the first heartbeat of a phone."""
ALIVE_S, SILENCE_S = 5.0, 15.0
"""Interval of the heartbeats, and time limit of each before the connection counts as lost."""
NO_NEIGHBOURS = {"ADB_MDNS": "0"}
"""For an adb server started here: it need not search the network for phones."""
REASONS = (
    Reason(
        r"device unauthorized",
        "{serial} has not allowed this computer",
        "unlock it and say yes to the question on its screen; if there is none, plug it in again",
    ),
    Reason(
        r"insufficient permissions|no permissions",
        "this user may not use {serial}",
        "its udev rule is missing: apt-get install android-sdk-platform-tools-common, and join the group plugdev",
    ),
    Reason(
        r"device offline|device still (connecting|authorizing)",
        "{serial} is offline: it does not answer adb",
        "wake it, plug it in again, or switch its USB debugging off and on",
        passes=True,
    ),
    Reason(
        r"more than one device|more than one emulator",
        "several phones are called {serial}",
        "unplug all but one",
    ),
    Reason(
        r"device '.*' not found|no devices",
        "no phone called {serial} is connected",
        "{devices} lists those that are; is it plugged in, and is its USB debugging on?",
        passes=True,
    ),
    Reason(
        r"PTY args",
        "the Android of {serial} is too old",
        "it must be Android 7 or newer, whose shell tells how a command ended",
    ),
    Reason(
        r"cannot connect to daemon|failed to (start|check|connect)|server.* didn't ACK",
        "adb's server does not start",
        "see what {devices} says",
        passes=True,
    ),
)


class AdbTransport:
    """Runs shell commands on an Android phone.

    Args:
        serial: Its name in `adb devices`.
        workdir: The folder for edgeopt's files there; `WORKDIR` if empty.
    """

    def __init__(self, serial: str, *, workdir: str = "") -> None:
        if not serial or serial.startswith("-") or not serial.isprintable() or " " in serial:
            raise DeviceError(f"{serial!r} is no serial of a phone", hint="adb://SERIAL, as adb devices shows it")
        self.uri = f"adb://{serial}"
        self.workdir = shlex.quote(workdir or WORKDIR)
        self._serial = serial
        self._pulse: Pulse | None = None
        self._closed = False

    @property
    def lost(self) -> bool:
        """Whether the phone has stopped answering heartbeats."""
        pulse = self._pulse
        return self._closed or (pulse is not None and pulse.lost)

    def connect(self) -> None:
        """Connect, or reconnect.

        Raises:
            DeviceError: The phone cannot be reached, or refuses the connection.
        """
        self._drop()
        _adb("devices")  # starts adb's server if needed
        try:
            self._begin()
        except LinkLostError:
            if ":" not in self._serial or self._closed:  # on a cable, or closed meanwhile
                raise
            # adb forgets a phone in the network, or keeps a dead connection.
            for command in ("disconnect", "connect"):
                with suppress(LinkLostError):  # the phone's own answer describes the problem better
                    _adb(command, self._serial)
            self._begin()

    def argv(self, command: str) -> list[str]:
        """Return the adb command line that runs a command on the phone.

        Raises:
            DeviceError: The transport was closed.
        """
        if self._closed:
            raise DeviceError(f"{self.uri} was let go of")
        # -T: no terminal, which would change bytes. `exec-out` loses the exit code and mixes in standard error.
        return [*_program(), "-s", self._serial, "shell", "-T", command]

    def why(self, said: str) -> DeviceError:
        """Return the error that adb's output means."""
        names = {"serial": self._serial, "devices": shlex.join([*_program(), "devices"])}
        return explain(said, REASONS, names, f"{self._serial} does not answer any more")

    def close(self) -> None:
        """Stop the heartbeats, even while another thread waits for the first one."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        """Stop the heartbeats of this connection."""
        pulse, self._pulse = self._pulse, None
        if pulse is not None:
            pulse.close()

    def _begin(self) -> None:
        """Wait for the first heartbeat.

        Raises:
            DeviceError: It is not answered; with the reason.
        """
        pulse = self._pulse = Pulse(self.argv("cat"))
        if self._closed:  # meanwhile
            pulse.close()
        if not pulse.begin(CONNECT_S):
            cause = self.why(pulse.said)
            self._drop()
            raise cause


class Pulse:
    """Sends heartbeats to a phone: a `cat` there returns every byte.

    It is one process for the whole connection, so that it hardly disturbs measurements on the phone.

    Args:
        argv: Command that starts the `cat`.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._closed = threading.Event()
        self._ending = threading.Lock()
        self._thread: threading.Thread | None = None
        self.lost = False
        """Whether a heartbeat was not answered."""
        self.said = ""
        """Standard error of adb, after its end."""

    def begin(self, wait_s: float) -> bool:
        """Return whether the first heartbeat is answered in time; if so, keep sending them."""
        if not self._answers(wait_s) or self._closed.is_set():
            self.lost = True
            self._end()
            return False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return True

    def close(self) -> None:
        """Stop sending."""
        self._closed.set()
        self._process.kill()
        if self._thread is not None:  # else `begin` must still read its end, so the pipe stays open
            self._thread.join()
            self._end()

    def _watch(self) -> None:
        while not self._closed.wait(ALIVE_S):
            if not self._answers(SILENCE_S):
                self.lost = not self._closed.is_set()
                return

    def _answers(self, wait_s: float) -> bool:
        """Send a byte and return whether it comes back in time."""
        sent, back = self._process.stdin, self._process.stdout
        if sent is None or back is None:  # pragma: no cover - always opened as pipes
            return False
        with suppress(OSError, ValueError), selectors.DefaultSelector() as selector:  # it may be closed meanwhile
            os.write(sent.fileno(), b"\n")
            selector.register(back, selectors.EVENT_READ)
            return bool(selector.select(wait_s)) and bool(os.read(back.fileno(), 1))
        return False

    def _end(self) -> None:
        """End the process and keep its standard error."""
        with self._ending:
            self._process.kill()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            if self._process.stderr is not None and not self._process.stderr.closed:
                self.said = self._process.stderr.read().decode("utf-8", "replace")
                self._process.stderr.close()
            self._process.wait()


def only_serial() -> str:
    """Return the serial of the only connected phone.

    Raises:
        DeviceError: No phone is connected, or several are.
    """
    lines = [line.split("\t", 1) for line in _adb("devices").splitlines() if "\t" in line]
    if len(lines) == 1:
        return lines[0][0]
    if not lines:
        raise DeviceError("no phone is connected", hint="plug one in, and switch its USB debugging on")
    listed = ", ".join(f"adb://{serial}" + ("" if state == "device" else f" ({state})") for serial, state in lines)
    raise DeviceError("several phones are connected", hint=f"name one: {listed}")


def _program() -> list[str]:
    return shlex.split(os.environ.get(COMMAND_VARIABLE, "")) or ["adb"]


def _adb(*arguments: str) -> str:
    """Return the output of one of adb's own commands.

    Raises:
        DeviceError: adb is not installed, or the command fails.
    """
    argv = [*_program(), *arguments]
    try:
        done = subprocess.run(
            argv,
            env=NO_NEIGHBOURS | os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CONNECT_S,
            check=False,
        )
    except OSError as error:
        message = f"{argv[0]} cannot be started: {error.strerror}"
        raise DeviceError(message, hint="install Android's platform tools: apt-get install adb") from error
    except subprocess.TimeoutExpired as error:
        hint = "end its server, then try again: adb kill-server"
        raise LinkLostError(f"adb {arguments[0]} gave no answer within {CONNECT_S:g} s", hint=hint) from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace")
        names = {"serial": " ".join(arguments[1:]), "devices": shlex.join([*_program(), "devices"])}
        raise explain(said, REASONS, names, f"adb {arguments[0]} failed")
    return done.stdout.decode("utf-8", "replace")
