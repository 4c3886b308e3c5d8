"""A device at the other end of a link: the part that ssh and adb share."""

from __future__ import annotations

import getpass
import json
import os
import posixpath
import re
import shlex
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeopt.devices import agent, bare, elf, forked, libraries, proctree
from edgeopt.devices.base import thread_environment
from edgeopt.devices.channel import MARK, ChannelClosed
from edgeopt.devices.forked import BACKEND, TENSORFLOW
from edgeopt.devices.link import ANSWER_S, CommandError, Link
from edgeopt.devices.remote_channel import RemoteChannel
from edgeopt.devices.store import Store
from edgeopt.devices.warm import SLOW, is_slow
from edgeopt.errors import DeviceError, one_line
from edgeopt.measure import forking, observer, system
from edgeopt.measure.facts import OBSERVER_FILES, RUNTIMES, Facts, Health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from edgeopt.devices.link import Transport
    from edgeopt.isolation import OwnEnvironment

T = TypeVar("T")
SILENCE_S = 30.0
"""A process on the device is ended after this silence: the host is gone."""
# Not imported: it imports `proctree` as a top-level module, as it does on the device.
GUARD = Path(proctree.__file__).with_name("guard.py")
TOOLS = (GUARD, Path(proctree.__file__), Path(forked.__file__))
"""Files that every process there needs beside its own script."""
AGENT = Path(agent.__file__)
AGENT_FILES = (AGENT, Path(libraries.__file__), Path(elf.__file__), *OBSERVER_FILES)
"""The agent and the files that it needs beside it."""
JOBS, LOCK = "jobs", "lock"
PYTHON = "python3"
OLDEST_PYTHON = (3, 9)
VERSION = re.compile(rb"(\d+) (\d+)\r?\n")
NOT_FOUND = (126, 127)
"""Exit codes of a shell for a program that cannot be run or is missing."""
QUESTION_S = 60.0
"""Time limit for a question to the agent; some boards have slow processors."""
CLAIM_S = 1.0
"""Time between two attempts to claim a device."""


class NoPythonError(DeviceError):
    """The device does not have a Python that can run edgeopt's files."""


class RemoteDevice:
    """Runs scripts on a device behind a transport, with the device's own Python.

    Args:
        transport: Carries commands to the device.
        python: Name or path of its Python, for its shell.
        cores: Cores that a process may use there; empty for all.
        name: The user's name for it; its address if empty.
        log: File for the agent's standard error; None discards it.
    """

    untimed: str = ""

    def __init__(
        self,
        transport: Transport,
        *,
        python: str = PYTHON,
        cores: Sequence[int] = (),
        name: str = "",
        log: Path | None = None,
    ) -> None:
        self.uri = transport.uri
        self.name = name or transport.uri
        self._transport = transport
        self._python = python
        self._cores = tuple(cores)
        self._log = log or Path(os.devnull)
        self._link = Link(transport)
        self._store = Store(self._link)
        self._channels: list[RemoteChannel] = []
        self._agent: RemoteChannel | None = None
        self._warming = threading.Lock()
        self._warm = ""
        """Name under which the parent of processes listens there; empty until it is started."""
        self._has_python = False
        self._token = uuid.uuid4().hex
        self._claimed = False

    def connect(self) -> None:
        """Connect, or reconnect after a lost connection; restore pushed files and the claim.

        Raises:
            DeviceError: It cannot be reached, somebody else has claimed it meanwhile, or `close` was called.
        """
        self._agent, self._warm = None, ""
        self._has_python = False
        self._transport.connect()
        self._store.open()
        self._claim_again()

    def claim(self, tell: Callable[[str], None], timeout_s: float) -> None:
        """Wait until nobody else measures on the device; see `Device.claim`."""
        until = time.monotonic() + timeout_s
        told = ""
        while (holder := self._ask_to_claim()) is not None:
            if time.monotonic() > until:
                raise DeviceError(
                    f"{self.uri} is in use by {holder}", hint="wait for its end; two would disturb each other"
                )
            if holder != told:
                tell(f"waiting for {self.uri}, which is in use by {holder}")
                told = holder
            time.sleep(CLAIM_S)
        self._claimed = True

    @property
    def folder(self) -> str:
        """The work folder on the device; empty before `connect`."""
        return self._store.folder

    def facts(self) -> Facts:
        """Return the facts of the device, detected by its Python, else by its shell."""
        runtimes: Mapping[str, str] = {}
        if self._lacks_python():
            # With Python, the agent itself runs on these cores only, and detects them.
            texts = {**bare.look(self._link), "$cores": system.as_ranges(self._cores)}
            found = observer.facts_from_texts(texts)
        else:
            found, runtimes = self._ask({"op": "facts"}), self.versions(RUNTIMES)
        facts = self._read(Facts.from_dict, {**found, "uri": self.uri, "runtimes": runtimes})
        return facts if self.name == self.uri else replace(facts, details={**facts.details, "name": self.name})

    def health(self) -> Health:
        """Return the current health of the device, detected by its Python, else by its shell."""
        if self._lacks_python():
            return self._read(Health.from_dict, observer.health_from_texts(bare.look(self._link)))
        return self._read(Health.from_dict, self._ask({"op": "health"}))

    def free_bytes(self) -> int | None:
        """Return the memory available to a process there, without the wait of `health`; None if unknown."""
        found = self._ask({"op": "memory"}).get("available_bytes")
        return found if isinstance(found, int) and found > 0 else None

    def versions(
        self,
        distributions: Iterable[str],
        environment: OwnEnvironment | None = None,  # noqa: ARG002 - it exists on the host only
    ) -> Mapping[str, str]:
        """Return, by name, the versions of those distributions that the device's Python has."""
        found = self._ask({"op": "versions", "names": list(distributions)})
        return {str(name): one_line(str(version)) for name, version in found.items()}

    def provided(self) -> dict[str, Any]:
        """Return the device's platform, as packages see it; see `libraries.provided_here`."""
        return self._read(_system, self._ask({"op": "provided"}))

    def check(self, distributions: Iterable[str]) -> dict[str, Any]:
        """Check the libraries of installed distributions on the device; see `libraries.check`."""
        return self._ask({"op": "check", "names": list(distributions)})

    def push(self, path: Path) -> str:
        """Make a file or folder of the host readable on the device; return its path there."""
        return posixpath.join(self._store.push(path.absolute()), path.name)

    @contextmanager
    def place(self, path: Path) -> Iterator[str]:
        """Yield an unused path in the work folder; see `Device.place`."""
        place = posixpath.join(self._store.folder, JOBS, f"{uuid.uuid4().hex}-{path.name}")
        try:
            yield place
        finally:
            self._store.drop(place)

    def open(  # noqa: PLR0913 - each is a fact of its own
        self,
        script: Path,
        *,
        log: Path,
        threads: int = 1,
        memory_limit_bytes: int | None = None,
        environment: OwnEnvironment | None = None,  # noqa: ARG002 - it exists on the host only
        requires: Iterable[str] = (),
    ) -> RemoteChannel:
        """Start a Python file of the host on the device, under a guard; see `Device.open`."""
        parent = self._warm_up() if threads == 1 and is_slow(requires) else ""
        return self._start([self.push(script)], log, threads, memory_limit_bytes, parent=parent)

    def run(self, argv: Sequence[str], what: str, limit_s: float) -> tuple[int, str]:
        """Run a pushed program without Python; end it there if this process or the link ends.

        Args:
            argv: The program's path on the device, and its arguments.
            what: Its purpose, for errors: `{what} failed`.
            limit_s: Time limit there; the exit code is `bare.TOO_LONG` if it takes longer.

        Returns:
            Its exit code, and its standard output and error as one text.

        Raises:
            DeviceError: It cannot be started, or the link was lost.
        """
        on_cores = ("taskset", f"{sum(1 << core for core in self._cores):x}") if self._cores else ()
        guarded = bare.guarded([*on_cores, *argv], limit_s)
        command = f"chmod 700 {shlex.quote(argv[0])} || exit; ( {guarded}\n) 2>&1; printf '\\n%d' $?"
        kept, held = os.pipe()  # closes when this process ends, whatever happens
        with open(kept, "rb") as silence, open(held, "wb"):  # noqa: PTH123 - they have no path
            printed = self._link.run(command, what, send=silence, timeout_s=limit_s + ANSWER_S)
        said, _, code = printed.rpartition(b"\n")
        return int(code), said.decode("utf-8", "replace")

    def pull(self, remote: str, path: Path) -> None:
        """Copy a folder of the device to `path` on the host."""
        self._store.pull(remote, path)

    def close(self) -> None:
        """End all processes started on the device and release it: a pending or later `connect` fails."""
        for channel in self._channels:
            channel.close()
        self._transport.close()

    def _warm_up(self) -> str:
        """Start, once, the process that imports TensorFlow; return the name under which it listens.

        Raises:
            DeviceError: It cannot be started.
        """
        with self._warming:
            if not self._warm:
                name, script = f"edgeopt-{uuid.uuid4().hex}", self.push(Path(forking.__file__))
                # No limit: processes forked from it count as its children, and each has its own limit.
                parent = self._start([script, name, *SLOW], self._log, 1, 0, variables={BACKEND: TENSORFLOW})
                parent.ask({}, QUESTION_S)
                self._warm = name
            return self._warm

    def _start(  # noqa: PLR0913 - each is a fact of its own
        self,
        run: Sequence[str],
        log: Path,
        threads: int,
        memory_limit_bytes: int | None,
        *,
        parent: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> RemoteChannel:
        """Start a Python file that is on the device, with its arguments, under a guard."""
        self._look_for_python()
        wanted = {
            "argv": [self._python, *run],
            "parent": parent,
            "environment": {**thread_environment(threads), **(variables or {})},
            "mark": f"{MARK}={uuid.uuid4().hex}",
            "silence_s": SILENCE_S,
            "memory_limit_bytes": memory_limit_bytes,
            "cores": list(self._cores) or None,
        }
        tools = self._store.push(*TOOLS)
        guarded = [self._python, posixpath.join(tools, GUARD.name), json.dumps(wanted)]
        channel = RemoteChannel(f"exec {shlex.join(guarded)}", log=log, transport=self._transport)
        self._channels = [*(other for other in self._channels if not other.closed), channel]
        return channel

    def _look_for_python(self) -> None:
        """Check, once per connection, that a Python can run edgeopt's files.

        Raises:
            NoPythonError: It is missing, does not run, or is too old.
        """
        if self._has_python:
            return
        command = f"{shlex.quote(self._python)} -c 'import sys; print(*sys.version_info[:2])'"
        wanted = "Python {}.{} or newer".format(*OLDEST_PYTHON)
        hint = (
            f"install {wanted} there, or name another one: edgeopt devices add NAME URI --python PATH; a phone can be"
            " measured without: --native-program FILE"
        )
        try:
            said = self._link.run(command, "looking for Python")
        except CommandError as error:
            what = "is not there" if error.code in NOT_FOUND else "does not run"
            raise NoPythonError(f"{self.uri}: {self._python} {what}", hint=hint) from error
        if not (match := VERSION.fullmatch(said)):
            told = one_line(said.decode("utf-8", "replace"))
            raise NoPythonError(f"{self.uri}: {self._python} does not tell its version, but {told!r}", hint=hint)
        if tuple(map(int, match.groups())) < OLDEST_PYTHON:
            version = b".".join(match.groups()).decode()
            raise NoPythonError(f"{self.uri}: {self._python} is Python {version}, which is too old", hint=hint)
        self._has_python = True

    def _lacks_python(self) -> bool:
        """Return whether the device lacks a Python that can run edgeopt's files."""
        try:
            self._look_for_python()
        except NoPythonError:
            return True
        return False

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the agent's answer; the first question starts it, and it ends with the connection.

        Raises:
            DeviceError: It cannot be started, cannot answer, or somebody else has the device by now.
        """
        if self._agent is not None:
            try:
                return self._answer(self._agent, message)
            except ChannelClosed:  # something on the device may have ended it since the last question
                self._agent = None
        script = posixpath.join(self._store.push(*AGENT_FILES), AGENT.name)
        self._agent = self._start([script], self._log, 1, None)
        if message["op"] != "claim":
            self._claim_again()
        return self._answer(self._agent, message)

    def _answer(self, started: RemoteChannel, message: Mapping[str, Any]) -> dict[str, Any]:
        answer = started.ask(message, QUESTION_S)
        found = answer.get(message["op"], answer)
        if "error" in answer or not isinstance(found, dict):
            raise DeviceError(f"{self.uri}: it cannot tell its {message['op']}: {one_line(str(answer))}")
        return found

    def _claim_again(self) -> None:
        """Renew the claim on the device, if any; it ended with the agent or the link.

        Raises:
            DeviceError: Somebody else has it now.
        """
        if self._claimed and (holder := self._ask_to_claim()) is not None:
            raise DeviceError(f"{self.uri} was claimed by {holder} meanwhile")

    def _ask_to_claim(self) -> str | None:
        """Try to claim the device; return None, or a text that names the other holder."""
        owner = f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"
        path = posixpath.join(self._store.folder, LOCK)
        if self._lacks_python():
            found = self._claim_by_shell(path, owner)
        else:
            found = self._ask({"op": "claim", "path": path, "owner": owner, "token": self._token})
        if found.get("ours"):
            return None
        with suppress(TypeError, ValueError, OverflowError, OSError):
            since = datetime.fromtimestamp(float(found["since"])).astimezone()
            return f"{one_line(str(found['owner']))} since {since:%H:%M}"
        return "somebody else"

    def _claim_by_shell(self, path: str, owner: str) -> dict[str, Any]:
        """Act as `agent.claim`; a shell holds the claim while it receives signs of life."""
        claiming = bare.claim(path, owner, self._token, SILENCE_S)
        channel = RemoteChannel(claiming, log=self._log, transport=self._transport)
        self._channels.append(channel)
        found = bare.read_claim(channel.ask({}, QUESTION_S), self._token)
        if not found["ours"]:
            channel.close()
        return found

    def _read(self, read: Callable[[Any], T], found: Any) -> T:
        """Return an answer of the device, converted by `read`.

        Raises:
            DeviceError: It cannot be read.
        """
        try:
            return read(found)
        except ValueError as error:
            raise DeviceError(f"{self.uri}: {error}", hint="is its system whole?") from error


def _system(found: dict[str, Any]) -> dict[str, Any]:
    """Return a device's answer if it has the form of `libraries.provided_here`.

    Raises:
        ValueError: It does not have that form.
    """
    texts = [found.get(key) for key in ("machine", "libc", "python", "executable", "abi")]
    mappings = [found.get(key) for key in ("versions", "markers")]
    if not isinstance(platforms := found.get("platforms"), list) or not all(isinstance(one, dict) for one in mappings):
        raise ValueError("it does not tell what its system is")
    told = [*texts, *platforms, *(text for one in mappings if one for text in one.values())]
    if not all(isinstance(text, str) for text in told):
        raise ValueError("what it tells of its system is no text")
    for version in found["versions"].values():
        elf.numbers(version)
    return found
