"""Imports slow libraries once, then forks processes in milliseconds.

One file, standard library only, started as `forking.py HOST MODULE...`. It imports the modules and calls none of their
functions. It ends if it then has more than one thread, since forking would be unsafe. HOST is one of these:

- The file descriptor of a socket to the host. After the import it sends its number of threads: `threads`. It ends when
  the socket is closed.
- On another device, the name of an abstract Unix socket on which it listens from the start; it then writes `listens`
  to standard output. Each connection carries one message, which waits until the import is done. It ends when its
  standard input ends.

A message carries four file descriptors: standard input, output and error of a new process, and a pipe for its exit
code. The new process answers with its `pid`; if the fork fails, the answer is `error`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import tempfile

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Asked: TypeAlias = tuple[socket.socket, dict[str, Any], list[int]]

MESSAGE_BYTES = 1 << 20
FDS = 4
STDIN, STDOUT = 0, 1
RECEIVE_S = 5.0
"""Time limit for the message of a new connection."""
PEER = struct.Struct("3i")
"""The process, user and group at the other end of a socket (Linux, `unix(7)`)."""
PAGE_BYTES, ENTRY_BYTES, CHUNK_BYTES = os.sysconf("SC_PAGE_SIZE"), 8, 1 << 16
POPULATE_READ = 22
"""Advice to `madvise`: put pages into the page tables (Linux 5.14, `madvise(2)`)."""
FILE_IN_MEMORY = 1 << 63 | 1 << 61
"""Bits of a page map entry: the page is in memory and belongs to a file (Linux, `admin-guide/mm/pagemap.rst`)."""


class Parent:
    """Forks processes until the host is gone.

    Args:
        host: The socket to the host, or a listening socket.
    """

    def __init__(self, host: socket.socket) -> None:
        self._host = host
        self._listens = listens(host)
        self._pages = file_pages()
        touch(self._pages)  # a system that forbids it ends this process before the host relies on it
        self._exits: dict[int, int] = {}
        """The pipe for the exit code of a process, by PID."""
        self._woken, self._wakes = os.pipe()
        for descriptor in (self._woken, self._wakes):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)

    def serve(self) -> list[str] | None:
        """Fork a process for each message.

        Returns:
            In a forked process, its command; in this one None, once the host is gone.
        """
        asked = None
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._host.fileno(), self._woken, *([STDIN] if self._listens else [])):
                selector.register(descriptor, selectors.EVENT_READ)
            while asked is None:
                ready = {key.fd for key, _ in selector.select()}
                if self._woken in ready:
                    self._reap()
                if STDIN in ready and not os.read(STDIN, MESSAGE_BYTES):
                    return None
                if self._host.fileno() in ready:
                    asking = self._host.accept()[0] if self._listens else self._host
                    received = self._receive(asking)
                    if received is None and not self._listens:
                        return None
                    asked = received and self._fork(*received)
                    if asked is None and self._listens:
                        asking.close()
        return self._become(*asked)

    def _receive(self, asking: socket.socket) -> Asked | None:
        """Receive a message and its file descriptors; None if it is invalid or from another user."""
        descriptors: list[int] = []
        message: Any = None
        with contextlib.suppress(OSError, ValueError):
            if self._listens:
                asking.settimeout(RECEIVE_S)
                check_user(asking)
            said, descriptors, _, _ = socket.recv_fds(asking, MESSAGE_BYTES, FDS)
            message = json.loads(said)
        if isinstance(message, dict) and len(descriptors) == FDS:
            return asking, message, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _fork(self, asking: socket.socket, message: dict[str, Any], descriptors: list[int]) -> Asked | None:
        """Fork a process; return the arguments in it, None in this one."""
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes: those that run must continue
            for descriptor in descriptors:
                os.close(descriptor)
            with contextlib.suppress(OSError):  # the asking process may have ended
                asking.sendall(json.dumps({"error": str(error)}).encode())
            return None
        if pid == 0:
            return asking, message, descriptors
        *streams, self._exits[pid] = descriptors
        for descriptor in streams:
            os.close(descriptor)
        return None

    def _become(self, asking: socket.socket, message: dict[str, Any], descriptors: list[int]) -> list[str]:
        """Make this process independent, and return its command."""
        os.setsid()
        # Sent by the process itself: until it leads its group, the host cannot end it.
        asking.sendall(json.dumps({"pid": os.getpid()}).encode())
        asking.close()
        self._forget_parent()
        *streams, exit_pipe = descriptors
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.set_inheritable(exit_pipe, False)  # it stays open: its end means that parent and process are gone
        os.environ.clear()
        os.environ.update(message["env"])
        tempfile.tempdir = None  # it was derived from the parent's variables
        with contextlib.suppress(OSError):  # the folder may have been removed
            os.chdir(message["cwd"])
        touch(self._pages)
        forget_seeds()
        run: list[str] = message["run"]
        return run

    def _forget_parent(self) -> None:
        """Release the resources that belong to the parent alone."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._host.close()
        for descriptor in (self._woken, self._wakes, *self._exits.values()):
            os.close(descriptor)

    def _reap(self) -> None:
        """Write the exit code of each process that has ended, negative for a signal."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, MESSAGE_BYTES)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                descriptor = self._exits.pop(pid, None)
                if descriptor is None:  # started by an imported library
                    continue
                with contextlib.suppress(OSError):  # nobody reads it
                    os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(descriptor)


def file_pages() -> list[tuple[int, int]]:
    """Return the start and end address of each stretch of file pages in this process's memory.

    A forked process does not have them in its page tables until it reads them. Its memory would look smaller than if
    it had imported the same libraries itself: 367 MB instead of 723 MB.
    """
    found: list[tuple[int, int]] = []
    with open("/proc/self/maps", encoding="utf-8") as maps, open("/proc/self/pagemap", "rb") as pagemap:  # noqa: PTH123
        for line in maps:
            span, permissions, _, _, inode, *_ = line.split()
            if inode != "0" and permissions.startswith("r"):
                begin, end = (int(address, 16) for address in span.split("-"))
                pagemap.seek(begin // PAGE_BYTES * ENTRY_BYTES)
                entries = pagemap.read((end - begin) // PAGE_BYTES * ENTRY_BYTES)
                found += _stretches(begin, entries)
    return found


def _stretches(begin: int, entries: bytes) -> list[tuple[int, int]]:
    """Return the stretches of file pages that are in memory, from their entries in the page map."""
    found: list[tuple[int, int]] = []
    for number, (entry,) in enumerate(struct.iter_unpack("=Q", entries)):
        if entry & FILE_IN_MEMORY == FILE_IN_MEMORY:
            address = begin + number * PAGE_BYTES
            first = found.pop()[0] if found and found[-1][1] == address else address
            found.append((first, address + PAGE_BYTES))
    return found


def touch(pages: list[tuple[int, int]]) -> None:
    """Put stretches of this process's memory into its page tables."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with open("/proc/self/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        for begin, end in pages:
            if advise(begin, end - begin, POPULATE_READ):  # an older Linux; reading takes four times as long
                for address in range(begin, end, CHUNK_BYTES):
                    with contextlib.suppress(OSError):  # the file may have been truncated since
                        os.pread(memory.fileno(), min(CHUNK_BYTES, end - address), address)


def forget_seeds() -> None:
    """Reseed NumPy, so that each process draws other random numbers; Python's `random` does so by itself."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def run(asked: list[str]) -> None:
    """Run a Python file, or with `-m` a module, as the main program."""
    if asked[0] == "-m":
        sys.argv = asked[1:]
        runpy.run_module(asked[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = asked
        runpy.run_path(asked[0], run_name="__main__")


def threads() -> int:
    """Return the number of threads of this process."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - one import less


def listens(host: socket.socket) -> bool:
    """Return whether the host is on another device and connects for each message."""
    return bool(host.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def check_user(asking: socket.socket) -> None:
    """Refuse another user: anybody can see the name and connect.

    Raises:
        PermissionError: The sender is another user.
    """
    _, user, _ = PEER.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    if user != os.getuid():
        raise PermissionError(f"user {user} asks for a process of user {os.getuid()}")


def open_host(name: str) -> socket.socket:
    """Return the socket to the host, or a listening socket."""
    if name.isdigit():
        host = socket.socket(fileno=int(name))
        os.set_inheritable(host.fileno(), False)
    else:
        host = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        host.bind(f"\0{name}")
        host.listen()
        os.write(STDOUT, b'{"listens": true}\n')
    return host


def main() -> None:
    """Import the modules, send the number of threads, and serve; a forked process runs its command."""
    host = open_host(sys.argv[1])
    own = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - one import less
    sys.path[:] = [entry for entry in sys.path if entry != own]  # a runner must not find edgeopt's files by accident
    gc.disable()  # an import leaves no garbage, and collecting takes a sixth of its time
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.enable()
    gc.freeze()  # otherwise each forked process would copy every page that its collector visits
    count = threads()
    parent = Parent(host)
    if not listens(host):
        host.sendall(json.dumps({"threads": count}).encode())
    if count == 1 and (asked := parent.serve()) is not None:
        run(asked)


if __name__ == "__main__":
    main()
