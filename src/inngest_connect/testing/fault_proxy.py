"""FaultProxy: a TCP proxy on loopback with faults."""

import asyncio
import socket
import struct
from typing import Final

_CHUNK: Final = 64 * 1024


class FaultProxy:
    """``async with FaultProxy("127.0.0.1", port) as proxy``: connect to ``proxy.port``."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self.port = 0
        """The port that it listens on; it stays the same after ``refuse`` and ``restore``."""
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._delay = 0.0
        self._bytes_per_second: float | None = None
        self._open = asyncio.Event()
        self._open.set()
        self.accepted = 0
        """How many connections were accepted."""

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        await self.refuse()
        self.drop()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def __aenter__(self) -> "FaultProxy":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- faults ------------------------------------------------------------------------------

    def drop(self) -> None:
        """End all connections with FIN."""
        for writer in list(self._writers):
            writer.close()

    def reset(self) -> None:
        """End all connections with RST."""
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def black_hole(self) -> None:
        """Keep connections open and accept new ones, but pass nothing on until ``restore``."""
        self._open.clear()

    def delay(self, seconds: float) -> None:
        """Delay each chunk by that many seconds."""
        self._delay = seconds

    def throttle(self, bytes_per_second: float | None) -> None:
        """Limit each direction of each connection to this rate; None ends it."""
        self._bytes_per_second = bytes_per_second

    async def refuse(self) -> None:
        """Stop listening, so that new connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def restore(self) -> None:
        """End every fault."""
        self._delay = 0.0
        self._bytes_per_second = None
        self._open.set()
        if self._server is None:
            await self.start()

    # --- passing on --------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            self._writers.discard(writer)
            writer.close()
            return
        self._writers.add(up_writer)
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            pipe = asyncio.create_task(self._pipe(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(_CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                if self._bytes_per_second is not None:
                    await asyncio.sleep(len(data) / self._bytes_per_second)
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass  # the end of a connection is what this proxy is for
        finally:
            self._writers.discard(sink)
            sink.close()
