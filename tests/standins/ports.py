"""Ports that stay ours while a stand-in is down: it comes back on the same one, and no other test process takes it."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

# Below what a kernel gives to outgoing connections, which could otherwise take the port of a stand-in that is down.
NUMBERS = range(21_000, 22_000)
HELD = {}


def reserve():
    """A free port on loopback, kept from the other test processes until it is released or this process ends."""
    folder = Path(tempfile.gettempdir()) / f"edgeopt-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for number in random.sample(NUMBERS, len(NUMBERS)):
        lock = (folder / str(number)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if _is_free(number):
            HELD[number] = lock
            return number
        lock.close()
    raise RuntimeError(f"no free port from {NUMBERS.start} to {NUMBERS.stop - 1}")


def release(number):
    HELD.pop(number).close()


def _is_free(number):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
