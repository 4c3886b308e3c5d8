"""Each fault of the relay is what it claims, as plain sockets and `ssh` see it."""

import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from tests.standins.relay import Relay
from tests.standins.waiting import until


@contextmanager
def echo():
    """A server that sends everything back; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection):
            with connection:
                try:
                    while got := connection.recv(65_536):
                        connection.sendall(got)
                except OSError:
                    pass

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def link():
    with echo() as port, Relay(port) as relay:
        yield relay


def connect(relay):
    return socket.create_connection(("127.0.0.1", relay.port), timeout=10)


def receive(connection, count):
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        assert more
        got += more
    return got


def ask(connection, data):
    """The answer, and the seconds that it took."""
    start = time.monotonic()
    threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
    return receive(connection, len(data)), time.monotonic() - start


def test_without_a_fault_all_arrives_and_the_end_too(link):
    data = bytes(range(256)) * 4_000
    with connect(link) as connection:
        assert ask(connection, data)[0] == data
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert link.carried == {"up": len(data), "down": len(data)}


def test_latency_counts_each_way(link):
    with connect(link) as connection:
        assert ask(connection, b"x")[1] < 0.1
        link.latency_s = 0.1
        assert 0.2 <= ask(connection, b"x")[1] < 0.5
        link.latency_s = 0.0
        assert ask(connection, b"x")[1] < 0.1


def test_the_rate_is_kept(link):
    link.bytes_per_s = 1_000_000
    with connect(link) as connection:
        assert 0.3 <= ask(connection, bytes(300_000))[1] < 1.0


def test_a_stalled_link_stays_open_and_loses_nothing(link):
    with connect(link) as connection:
        link.stalled = True
        connection.sendall(b"late")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(4)
        link.stalled = False
        connection.settimeout(10)
        assert receive(connection, 4) == b"late"


def test_a_cut_resets_and_a_new_connection_works(link):
    with connect(link) as connection:
        ask(connection, b"x")
        link.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(link) as connection:
        assert ask(connection, b"again")[0] == b"again"


def test_a_cut_can_come_in_the_middle(link):
    link.cut_after("down", 50_000)
    with connect(link) as connection:
        threading.Thread(target=connection.sendall, args=(bytes(60_000),), daemon=True).start()
        with pytest.raises(ConnectionResetError):
            receive(connection, 50_001)


def test_while_it_refuses_nothing_listens(link):
    with connect(link) as connection:
        ask(connection, b"x")
        link.refusing = True
        with pytest.raises(ConnectionRefusedError):
            connect(link)
        assert ask(connection, b"old")[0] == b"old"
        link.refusing = False
        with connect(link) as another:
            assert ask(another, b"new")[0] == b"new"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_one_byte_is_flipped_where_it_was_asked(link, direction):
    with connect(link) as connection:
        ask(connection, b"before")
        link.flip_after(direction, 30_000)
        got, _ = ask(connection, bytes(60_000))
        assert [at for at, value in enumerate(got) if value] == [30_000]
        assert got[30_000] == 0xFF
        assert ask(connection, bytes(60_000))[0] == bytes(60_000)


def test_a_server_that_is_gone_is_a_reset():
    with echo() as port:
        pass
    with Relay(port) as relay, connect(relay) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_ssh_goes_through_it_and_notices_each_fault(sshd, relay):
    link = relay(sshd.port)
    board = sshd.through(link.port)
    assert board.run("cat", input="x" * 100_000).stdout == "x" * 100_000
    link.flip_after("up", 20_000)
    assert board.run("cat", input="x" * 100_000).returncode == 255
    link.cut_after("down", 50_000)
    assert board.run("cat", input="x" * 100_000).returncode == 255
    with subprocess.Popen(board.ssh("-v", "sleep 77"), stderr=subprocess.DEVNULL) as client:
        until(lambda: "sleep 77" in sshd.processes().values())
        link.cut()
        assert client.wait(timeout=10) == 255
    assert board.run("echo again").stdout == "again\n"
