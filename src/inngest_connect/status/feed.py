"""EventFeed: the page's live stream, as server-sent events.

All clients get the same text, which is made once a second and when something changes, and only
while somebody listens. A client that does not read is dropped; a stream ends after half a minute
and the browser opens the next, because a server that waits for its connections before it stops
would otherwise wait for ever.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

MOST_CLIENTS: Final = 16
STREAM_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 10.0
"""How long a client may leave its stream unread."""

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),
]


class _Client:
    """One listener: woken for something new, and when it has gone."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.gone = False

    async def watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self.gone = True
        self.wake.set()


class EventFeed:
    """An ASGI application. ``render`` makes the data of an event, in one line."""

    def __init__(
        self,
        render: Callable[[], str],
        *,
        interval: float = 1.0,
        patience: float = PATIENCE_SECONDS,
        lifetime: float = STREAM_SECONDS,
    ) -> None:
        """Times in seconds."""
        self._render = render
        self._interval = interval
        self._patience = patience
        self._lifetime = lifetime
        self._clients: set[_Client] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made: tuple[int, bytes] | None = None
        self._stopped = False

    @property
    def clients(self) -> int:
        """How many listen now."""
        return len(self._clients)

    def wake(self) -> None:
        """Send something new at once. From any thread; costs nothing while nobody listens."""
        self._made = None
        loop = self._loop
        if loop is None or not self._clients:
            return
        try:
            loop.call_soon_threadsafe(self._wake_clients)
        except RuntimeError:  # the server's loop was closed in this very moment
            self._loop = None

    def stop(self) -> None:
        """End all streams, and every later one after its first event. From any thread."""
        self._stopped = True
        self.wake()

    def _wake_clients(self) -> None:
        for client in self._clients:
            client.wake.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            full = PlainTextResponse(
                f"{MOST_CLIENTS} clients listen already; /state.json has the same\n",
                503,
                {"Retry-After": "5"},
            )
            await full(scope, receive, send)
        elif scope["method"] == "HEAD":
            await Response(media_type="text/event-stream")(scope, receive, send)
        else:
            await self._serve(receive, send)

    async def _serve(self, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        client = _Client()
        self._clients.add(client)
        watching = self._loop.create_task(client.watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._stream(client, send)
        except TimeoutError:
            pass  # it does not read; without the end of the response the server drops it
        finally:
            self._clients.discard(client)
            watching.cancel()
            await asyncio.wait([watching])

    async def _stream(self, client: _Client, send: Send) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._lifetime
        sent: bytes | None = None
        while True:
            latest = self._latest(loop.time())
            # A comment keeps proxies from closing a stream on which nothing is new.
            data = latest if latest is not sent else b": nothing new\n\n"
            sent = latest
            over = self._stopped or loop.time() >= ends_at
            async with asyncio.timeout(self._patience):
                await send({"type": "http.response.body", "body": data, "more_body": not over})
            if over:
                return
            await self._next(client, loop)
            if client.gone:
                return

    async def _next(self, client: _Client, loop: asyncio.AbstractEventLoop) -> None:
        """Until the next whole interval, so that all clients share what is made then."""
        try:
            async with asyncio.timeout(self._interval - loop.time() % self._interval):
                await client.wake.wait()
        except TimeoutError:
            return
        client.wake.clear()

    def _latest(self, now: float) -> bytes:
        tick = int(now / self._interval)
        made = self._made
        if made is None or made[0] != tick:
            made = (tick, f"retry: 1000\ndata: {self._render()}\n\n".encode())
            self._made = made
        return made[1]
