"""A bad link: a relay in front of a port on loopback, whose faults are switched while it runs."""

import asyncio
import contextlib
import socket
import struct
import threading

CHUNK_BYTES = 16_384
WAITING_CHUNKS = 64  # what is under way; when it is full the sender is held back, as by a real link


class Relay:
    """Passes bytes on between its own port and a server's.

    Set at any time, and undone by setting it back:
        latency_s: how much later everything arrives, each way.
        bytes_per_s: how fast it moves, each way; None is as fast as it can.
        stalled: nothing moves and nobody is told, as behind a router that has lost its uplink.
        refusing: nothing listens on the port any more; connections that exist stay.

    Directions are `up`, to the server, and `down`, from it.

    Args:
        port: the server's, on loopback.
        connect: makes the connected socket instead, where the server is not on this machine's loopback.
    """

    def __init__(self, port=None, *, connect=None):
        self._connect = connect or (lambda: socket.create_connection(("127.0.0.1", port)))
        self.latency_s, self.bytes_per_s = 0.0, None
        self.carried = {"up": 0, "down": 0}
        self._flips, self._cuts = {}, {}
        self._links, self._serving = set(), set()
        self._moving = asyncio.Event()
        self._moving.set()
        self._listener = self._accepting = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = None

    def __enter__(self):
        self._thread.start()
        self._call(self._listen(0))
        self.port = self._listener.getsockname()[1]
        return self

    def __exit__(self, *_):
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def stalled(self):
        return not self._moving.is_set()

    @stalled.setter
    def stalled(self, wanted):
        self._loop.call_soon_threadsafe(self._moving.clear if wanted else self._moving.set)

    @property
    def refusing(self):
        return self._listener is None

    @refusing.setter
    def refusing(self, wanted):
        if wanted != self.refusing:
            self._call(self._unlisten() if wanted else self._listen(self.port))

    def cut(self):
        """Reset all connections now."""
        self._call(self._reset_all())

    def cut_after(self, direction, count):
        """Reset the connection that carries the byte after `count` more in a direction, before that byte."""
        self._cuts[direction] = self.carried[direction] + count

    def flip_after(self, direction, count):
        """Turn over the bits of the byte that follows after `count` more in a direction."""
        self._flips[direction] = self.carried[direction] + count

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self, port):
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    async def _unlisten(self):
        self._accepting.cancel()
        self._listener.close()
        self._listener = None

    async def _reset_all(self):
        for link in list(self._links):
            link.reset()

    async def _close(self):
        if not self.refusing:
            await self._unlisten()
        await self._reset_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener):
        while True:
            outer, _ = await self._loop.sock_accept(listener)
            serving = asyncio.create_task(self._serve(outer))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)

    async def _serve(self, outer):
        reader, writer = await asyncio.open_connection(sock=outer)
        try:
            inner = await asyncio.to_thread(self._connect)
            server_reader, server_writer = await asyncio.open_connection(sock=inner)
        except OSError:
            _reset(writer)
            return
        link = _Link(writer, server_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pass_on("up", reader, server_writer, link), self._pass_on("down", server_reader, writer, link)
            )
        finally:
            self._links.discard(link)
            for end in link.ends:
                end.close()

    async def _pass_on(self, direction, reader, writer, link):
        """Carry one direction until its end, or until the connection is lost."""
        under_way = asyncio.Queue(WAITING_CHUNKS)
        delivery = asyncio.create_task(self._deliver(under_way, writer))
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                whole = len(chunk)
                chunk, is_cut = self._spoil(direction, chunk)
                await under_way.put((self._loop.time() + self.latency_s, chunk))
                self.carried[direction] += whole
                if is_cut:
                    await under_way.join()
                    link.reset()
            await under_way.put((self._loop.time() + self.latency_s, b""))
            await delivery
        except OSError:
            link.reset()
        finally:
            delivery.cancel()

    def _spoil(self, direction, chunk):
        """What is left of a chunk after a flipped byte and a cut, and whether it was cut."""
        start = self.carried[direction]
        if start <= self._flips.get(direction, -1) < start + len(chunk):
            at = self._flips.pop(direction) - start
            chunk = chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
        if start <= self._cuts.get(direction, -1) < start + len(chunk):
            return chunk[: self._cuts.pop(direction) - start], True
        return chunk, False

    async def _deliver(self, under_way, writer):
        free = 0.0  # when the link has carried all that was given to it
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            if self.bytes_per_s:
                free = max(free, self._loop.time()) + len(chunk) / self.bytes_per_s
                await asyncio.sleep(free - self._loop.time())
            await self._moving.wait()
            with contextlib.suppress(OSError):  # told by the reading side of the same connection
                if not chunk:
                    writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()
            under_way.task_done()


class _Link:
    """Both ends of one connection."""

    def __init__(self, *ends):
        self.ends = ends
        for end in ends:
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self):
        for end in self.ends:
            _reset(end)


def _reset(writer):
    """End a connection as a device does that has lost its power: by RST, without a farewell."""
    with contextlib.suppress(OSError):
        no_linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()
