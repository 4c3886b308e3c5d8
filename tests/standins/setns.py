"""Connections into the network namespace of another process."""

import ctypes
import os
import socket
import threading
from pathlib import Path

CLONE_NEWNET = 0x40000000


def connect(pid, port):
    """A socket that is connected to a port of the loopback that a process sees. Root only."""
    made = []
    # A namespace belongs to a thread, and a socket to the one that it was made in: a thread for this alone.
    maker = threading.Thread(target=lambda: made.append(_socket_in(pid)))
    maker.start()
    maker.join()
    (inside,) = made
    if isinstance(inside, OSError):
        raise inside
    try:
        inside.connect(("127.0.0.1", port))
    except OSError:
        inside.close()
        raise
    return inside


def _socket_in(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        with Path(f"/proc/{pid}/ns/net").open() as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET):
                return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as error:
        return error
    return socket.socket()
