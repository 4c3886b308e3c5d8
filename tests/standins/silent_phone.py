"""A phone that does not let anybody in: `unauthorized`, as until its owner says yes, or `offline`.

It speaks as much of adb's protocol as it takes for the real `adb` to say so. No root, no adbd.
"""

import contextlib
import secrets
import socket
import struct
import threading

from tests.standins.waiting import until

HEADER = struct.Struct("<6I")  # command, two arguments, length and checksum of the data, command inverted
CONNECT, AUTHENTICATE = 0x4E584E43, 0x48545541
TOKEN, SIGNATURE = 1, 2
TOKEN_BYTES = 20


class SilentPhone:
    """A phone in the state `unauthorized` or `offline` of an adb server."""

    def __init__(self, server, state):
        self.server, self.state = server, state
        self._listener = self._connecting = None

    @property
    def serial(self):
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def adb(self, *arguments, **options):
        """Run `adb` for this phone."""
        return self.server.adb("-s", self.serial, *arguments, **options)

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        # It returns when the phone has answered, which one that is offline never does.
        self._connecting = threading.Thread(target=self.server.adb, args=("connect", self.serial))
        self._connecting.start()
        until(lambda: self.server.states().get(self.serial) == self.state)
        return self

    def __exit__(self, *_):
        self.server.adb("disconnect", self.serial)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._connecting.join()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as packets, contextlib.suppress(OSError):
            while header := packets.read(HEADER.size):
                command, kind, _, length, _, _ = HEADER.unpack(header)
                packets.read(length)
                asks = command == CONNECT or (command == AUTHENTICATE and kind == SIGNATURE)
                # A signature is never the right one. A public key would be shown to the owner, who is not there.
                if asks and self.state == "unauthorized":
                    connection.sendall(_packet(AUTHENTICATE, TOKEN, secrets.token_bytes(TOKEN_BYTES)))


def _packet(command, argument, data):
    return HEADER.pack(command, argument, 0, len(data), sum(data), command ^ 0xFFFFFFFF) + data
