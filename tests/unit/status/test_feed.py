"""EventFeed: a bounded number of streams, each with the latest and nothing more."""

import asyncio
from typing import Any

import pytest

from inngest_connect.status.feed import MOST_CLIENTS, EventFeed

pytestmark = pytest.mark.unit
SCOPE: Any = {"type": "http", "method": "GET", "path": "/events", "headers": []}


class Browser:
    """A client at the ASGI interface. ``reads`` False is one that leaves its stream unread."""

    def __init__(self, feed: EventFeed, *, reads: bool = True) -> None:
        self.status: int | None = None
        self.received = b""
        self.ended = False
        self._reads = reads
        self._heard = asyncio.Event()
        self._leaves = asyncio.Event()
        self.task = asyncio.create_task(feed(SCOPE, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not self._reads:
            await asyncio.Event().wait()
        else:
            self.received += message["body"]
            self.ended = not message.get("more_body", False)
        self._heard.set()

    def leave(self) -> None:
        self._leaves.set()

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(20):
            while text not in self.received:
                self._heard.clear()
                await self._heard.wait()


async def test_all_clients_get_the_same_text_which_is_made_once() -> None:
    made = iter(range(1000))
    feed = EventFeed(lambda: str(next(made)), interval=3600.0)
    browsers = [Browser(feed) for _ in range(3)]

    for browser in browsers:
        await browser.until(b"data: 0\n\n")
    feed.wake()
    for browser in browsers:
        await browser.until(b"data: 1\n\n")
        browser.leave()
        await browser.task

    assert feed.clients == 0
    assert {browser.received for browser in browsers} == {browsers[0].received}


async def test_time_brings_something_new_without_a_change() -> None:
    made = iter(range(1000))
    feed = EventFeed(lambda: str(next(made)), interval=0.01)
    browser = Browser(feed)

    await browser.until(b"data: 3\n\n")

    browser.leave()
    await browser.task


async def test_one_client_too_many_is_told_so() -> None:
    feed = EventFeed(lambda: "x", interval=3600.0)
    browsers = [Browser(feed) for _ in range(MOST_CLIENTS)]
    for browser in browsers:
        await browser.until(b"data: x")

    refused = Browser(feed)
    await refused.until(b"/state.json")

    assert refused.status == 503
    for browser in browsers:
        browser.leave()
        await browser.task
    assert feed.clients == 0


async def test_a_client_that_does_not_read_is_dropped_without_the_end_of_the_stream() -> None:
    feed = EventFeed(lambda: "x", patience=0.01)
    browser = Browser(feed, reads=False)

    async with asyncio.timeout(20):
        await browser.task

    assert feed.clients == 0
    assert not browser.ended


async def test_a_stream_ends_after_its_time_so_that_no_server_waits_for_ever() -> None:
    feed = EventFeed(lambda: "x", interval=0.01, lifetime=0.0)
    browser = Browser(feed)

    async with asyncio.timeout(20):
        await browser.task

    assert browser.ended
    assert browser.received.startswith(b"retry: 1000\ndata: x\n\n")


async def test_stop_ends_all_streams_from_another_thread() -> None:
    feed = EventFeed(lambda: "x", interval=3600.0)
    browser = Browser(feed)
    await browser.until(b"data: x")

    await asyncio.to_thread(feed.stop)
    async with asyncio.timeout(20):
        await browser.task

    assert browser.ended


def test_waking_after_the_servers_loop_is_gone_does_no_harm() -> None:
    feed = EventFeed(lambda: "x", interval=3600.0)

    async def leave_one_behind() -> None:
        browser = Browser(feed)
        await browser.until(b"data: x")
        feed._clients.add(object())  # type: ignore[arg-type]
        browser.leave()
        await browser.task

    asyncio.run(leave_one_behind())

    feed.wake()
