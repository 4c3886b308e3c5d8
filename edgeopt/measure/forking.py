"""A process that has imported what takes seconds to import, and from which others are forked in milliseconds.

One file, standard library only, started as `forking.py FD MODULE...`; FD is one end of a socket. It imports the modules
and runs nothing of them, says `ready`, and then serves one message after another, each with four file descriptors:
standard input, output and error of the new process, and where its exit code is to be written. The answer is its PID.
A process that has threads cannot be forked safely: one that has some after the imports says so instead.
"""

from __future__ import annotations

import contextlib
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
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MESSAGE_BYTES = 1 << 20
FDS = 4
PAGE_BYTES, ENTRY_BYTES, CHUNK_BYTES = os.sysconf("SC_PAGE_SIZE"), 8, 1 << 16
FILE_IN_MEMORY = 1 << 63 | 1 << 61
"""Bits of a page map's entry: the page is in memory, and it is of a file (Linux, `admin-guide/mm/pagemap.rst`)."""
FAILED = 1


class Parent:
    """Forks processes until its socket is closed.

    Args:
        host: The socket.
    """

    def __init__(self, host: socket.socket) -> None:
        self._host = host
        self._pages = file_pages()
        self._exits: dict[int, int] = {}
        """By PID, where the exit code of a process is to be written."""
        self._woken, wakes = os.pipe()
        for descriptor in (self._woken, wakes):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        self._wakes = wakes

    def serve(self) -> None:
        """Fork a process for each message."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._host, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self._woken in ready:
                    self._reap()
                if self._host.fileno() in ready and not self._fork_next():
                    return

    def _fork_next(self) -> bool:
        """Serve one message and return whether there was one."""
        said, descriptors, _, _ = socket.recv_fds(self._host, MESSAGE_BYTES, FDS)
        if not said:
            return False
        message = json.loads(said)
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes: those that run must not end for it
            for descriptor in descriptors:
                os.close(descriptor)
            self._host.sendall(json.dumps({"error": str(error)}).encode())
            return True
        if pid == 0:
            self._become(message, descriptors)
        self._exits[pid] = descriptors[-1]
        for descriptor in descriptors[:-1]:
            os.close(descriptor)
        return True

    def _become(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Be the new process; does not return."""
        code = FAILED
        try:
            os.setsid()
            # By the process itself: before it leads its group, the host could not end it.
            self._host.sendall(json.dumps({"pid": os.getpid()}).encode())
            self._forget_parent()
            for number, descriptor in enumerate(descriptors[:3]):
                os.dup2(descriptor, number)
            for descriptor in descriptors:
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(message["env"])
            tempfile.tempdir = None  # it was found by the parent's variables
            with contextlib.suppress(OSError):  # it was removed meanwhile
                os.chdir(message["cwd"])
            touch(self._pages)
            forget_seeds()
            code = run(message["run"])
        except BaseException:  # noqa: BLE001 - it must not go on as a second parent
            sys.excepthook(*sys.exc_info())
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)

    def _forget_parent(self) -> None:
        """Give back what belongs to the parent alone."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._host.close()
        for descriptor in (self._woken, self._wakes, *self._exits.values()):
            os.close(descriptor)

    def _reap(self) -> None:
        """Tell the exit code of each process that has ended, negative for a signal."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, MESSAGE_BYTES)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                descriptor = self._exits.pop(pid, None)
                if descriptor is None:  # what an imported library started
                    continue
                with contextlib.suppress(OSError):  # nobody waits for it
                    os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(descriptor)


def file_pages() -> list[tuple[int, int]]:
    """Return where pages of files lie in the memory of this process: the first address of each stretch, and the last.

    A forked process has none of them in its page tables until it reads them, so that its memory would look smaller
    than that of a process which imported the same libraries itself: 367 MB instead of 723 MB.
    """
    found: list[tuple[int, int]] = []
    with open("/proc/self/maps", encoding="utf-8") as maps, open("/proc/self/pagemap", "rb") as pagemap:  # noqa: PTH123
        for line in maps:
            where, permissions, _, _, inode, *_ = line.split()
            if inode != "0" and permissions.startswith("r"):
                begin, end = (int(address, 16) for address in where.split("-"))
                pagemap.seek(begin // PAGE_BYTES * ENTRY_BYTES)
                entries = pagemap.read((end - begin) // PAGE_BYTES * ENTRY_BYTES)
                found += _stretches(begin, entries)
    return found


def _stretches(begin: int, entries: bytes) -> list[tuple[int, int]]:
    """Return the stretches of pages that are in memory and belong to a file, from their entries in the page map."""
    found: list[tuple[int, int]] = []
    for number, (entry,) in enumerate(struct.iter_unpack("=Q", entries)):
        if entry & FILE_IN_MEMORY == FILE_IN_MEMORY:
            address = begin + number * PAGE_BYTES
            first = found.pop()[0] if found and found[-1][1] == address else address
            found.append((first, address + PAGE_BYTES))
    return found


def touch(pages: list[tuple[int, int]]) -> None:
    """Read stretches of this process's memory, which puts them into its page tables."""
    with open("/proc/self/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        for begin, end in pages:
            for address in range(begin, end, CHUNK_BYTES):
                with contextlib.suppress(OSError):  # a file that was cut off since
                    os.pread(memory.fileno(), min(CHUNK_BYTES, end - address), address)


def forget_seeds() -> None:
    """Let NumPy draw other random numbers than in the next process; Python's own module does so by itself."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def run(what: list[str]) -> int:
    """Run a Python file, or with `-m` a module, as the main program, and return its exit code."""
    sys.argv = what[1:] if what[0] == "-m" else what
    try:
        if what[0] == "-m":
            runpy.run_module(what[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(what[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        sys.stderr.write(f"{ended.code}\n")
        return FAILED
    except BaseException:  # noqa: BLE001 - as Python does at the end of a program
        sys.excepthook(*sys.exc_info())
        return FAILED
    return 0


def threads() -> int:
    """Return how many threads this process has."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - one import less


def main() -> None:
    """Import the modules, say how that went, and serve."""
    host = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(host.fileno(), False)
    own = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - one import less
    sys.path[:] = [entry for entry in sys.path if entry != own]  # a runner must not find edgeopt's files by accident
    begin = time.monotonic()
    for module in sys.argv[2:]:
        importlib.import_module(module)
    said = {"import_s": time.monotonic() - begin, "threads": threads()}
    host.sendall(json.dumps(said).encode())
    if said["threads"] == 1:
        Parent(host).serve()


if __name__ == "__main__":
    main()
