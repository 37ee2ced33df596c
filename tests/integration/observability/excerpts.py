"""What docs/logging.md shows of the log: how each excerpt comes about, with real servers."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import inngest_connect
from inngest_connect import WebSocketWorkerConnection
from inngest_connect.core.retry import FixedRetry
from inngest_connect.core.settings import Timing
from inngest_connect.testing import ConnectionTestHarness
from tests.integration.demo_apps import App, make_app
from tests.unit.observability.log_capture import Capture

KEY, OTHER_KEY = (f"signkey-test-{digits * 32}" for digits in ("ab", "cd"))
PATIENT = Timing(heartbeat_interval=3600.0, pause_delay=0.05)
"""One heartbeat and no more, however slow the machine is."""


class Log(Capture):
    """A capture that can be waited on."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self._loop.call_soon_threadsafe(self._more.set)

    async def until(self, word: str, count: int = 1) -> None:
        """Wait for the ``count``-th record of an event, or error of a kind."""
        async with asyncio.timeout(20):
            while sum(_says(record, word) for record in list(self.records)) < count:
                self._more.clear()
                await self._more.wait()


def _says(record: logging.LogRecord, word: str) -> bool:
    return word in (vars(record).get("event"), vars(record).get("kind"))


@dataclass
class Stage:
    """A worker that connects, and what it has logged."""

    harness: ConnectionTestHarness
    app: App
    worker: WebSocketWorkerConnection
    log: Log
    running: asyncio.Task[None]


@dataclass(frozen=True)
class Excerpt:
    """``play`` begins with the worker connected, and the worker is closed after it.

    The excerpt is what was written from the beginning of ``play`` on; with ``whole``, everything.
    """

    play: Callable[[Stage], Awaitable[None]]
    level: int = logging.INFO
    keys: tuple[str, str] = (KEY, "")
    options: tuple[tuple[str, Any], ...] = ()
    whole: bool = False
    ends: bool = False


async def start(stage: Stage) -> None:
    """Nothing more."""


async def request(stage: Stage) -> None:
    await stage.log.until("heartbeat")
    await stage.harness.gateway.invoke("app-echo")
    await stage.log.until("reply_acknowledged")


async def failure(stage: Stage) -> None:
    await stage.harness.gateway.invoke("app-final")
    await stage.log.until("function_failed")


async def drain(stage: Stage) -> None:
    # A gateway that drains before it has read WORKER_READY closes the connection instead.
    await stage.harness.gateway.wait_for_worker()
    await stage.harness.gateway.drain()
    await stage.log.until("disconnected")


async def reconnect(stage: Stage) -> None:
    stage.harness.proxies[0].reset()
    await stage.log.until("connected", 2)


async def outage(stage: Stage) -> None:
    failed, count = asyncio.Event(), 0

    def failures(event: inngest_connect.Reconnecting) -> None:
        nonlocal count
        count += event.failures > 0
        if count >= 10:
            failed.set()

    stage.worker.add_event_listener("reconnecting", failures)
    await stage.harness.api_proxy.refuse()
    stage.harness.api_proxy.reset()  # the kept-alive connection as well
    stage.harness.proxies[0].reset()
    await failed.wait()
    await stage.harness.api_proxy.restore()
    await stage.log.until("connected", 2)


async def shutdown(stage: Stage) -> None:
    running = asyncio.create_task(stage.harness.gateway.invoke("app-wait"))
    await stage.app.seen.started.wait()
    await stage.worker.close()
    await stage.log.until("state_change")
    stage.app.seen.release.set()
    await running
    await stage.worker.closed()


async def forced(stage: Stage) -> None:
    running = asyncio.create_task(stage.harness.gateway.invoke("app-wait"))
    await stage.app.seen.started.wait()
    await stage.worker.close(wait=True)
    running.cancel()


async def refused(stage: Stage) -> None:
    await asyncio.wait([stage.running])


EXCERPTS = {
    "start": Excerpt(start, whole=True),
    "request": Excerpt(request, logging.DEBUG, whole=True),
    "failure": Excerpt(failure, options=(("failure_details", "message"),)),
    "drain": Excerpt(drain),
    "reconnect": Excerpt(reconnect),
    "outage": Excerpt(outage),
    "fallback": Excerpt(start, keys=(OTHER_KEY, KEY), whole=True),
    "refused": Excerpt(refused, keys=(OTHER_KEY, ""), whole=True, ends=True),
    "shutdown": Excerpt(shutdown, ends=True),
    "forced": Excerpt(forced, options=(("shutdown_timeout", 0.2),), ends=True),
}


async def logged(name: str) -> Log:
    """Play it, and return what was logged."""
    excerpt = EXCERPTS[name]
    async with _stage(excerpt) as stage:
        if excerpt.play is not refused:
            await stage.worker.wait_for_state(inngest_connect.ConnectionState.ACTIVE)
            await stage.log.until("connected")
        begun = 0 if excerpt.whole else len(stage.log.records)
        async with asyncio.timeout(30):
            await excerpt.play(stage)
            if excerpt.ends:
                await asyncio.wait([stage.running])
        ended = len(stage.log.records)
    stage.log.records = stage.log.records[begun:ended]
    return stage.log


@contextlib.asynccontextmanager
async def _stage(excerpt: Excerpt) -> AsyncIterator[Stage]:
    async with ConnectionTestHarness(signing_keys=(KEY,), timing=PATIENT) as harness:
        key, fallback = excerpt.keys
        client_options: dict[str, Any] = {"is_production": True, "signing_key": key}
        app = make_app(harness.api_origin, app_version="2.0.1", **client_options)
        if fallback:
            app.client._signing_key_fallback = fallback  # no argument of the client sets it
        logger, log = logging.Logger("inngest_connect", excerpt.level), Log()
        logger.addHandler(log)
        worker = harness.make_worker(
            [app.pair],
            instance_id="web-1",
            logger=logger,
            retry=FixedRetry(0.02),
            **dict(excerpt.options),
        )
        running = asyncio.create_task(worker.start())
        try:
            yield Stage(harness, app, worker, log, running)
        finally:
            app.seen.release.set()
            await worker.close(wait=True)
            await asyncio.wait([running])
            running.exception()
