"""Listeners in every form: called in order, on the application's loop, each separately."""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from inngest_connect import ConfigurationError, ConnectionState, connect
from inngest_connect.core.events import Draining, LeaseLost
from inngest_connect.observability.subscriptions import MOST_WAITING, Subscriptions, Where
from inngest_connect.testing import EmbeddedGateway
from tests.errors.faulty import faulty
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.field
LIMIT = 15.0
EVENT = LeaseLost("r", "run", "fn")
LOOP = Where.APPLICATION_LOOP


def ignore(*_: object) -> None:
    """What a test does not look at."""


class CannotBeShown(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class Async:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, event: Any) -> None:
        await self.method(event)

    async def method(self, event: Any) -> None:
        await asyncio.sleep(0)
        self.seen.append((asyncio.get_running_loop(), event))

    async def with_more(self, more: int, event: Any) -> None:
        await self.method(event)


FORMS: dict[str, Callable[[Async], Any]] = {
    "method": lambda it: it.method,
    "object": lambda it: it,
    "partial": lambda it: functools.partial(it.with_more, 1),
    "partial of partial": lambda it: functools.partial(functools.partial(it.with_more), 1),
    "lambda": lambda it: lambda event: it.method(event),
}


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("form", FORMS)
async def test_an_async_listener_runs_on_the_applications_loop_in_order(
    form: str, isolation: str
) -> None:
    it = Async()
    async with faulty() as outside:
        worker = outside.worker(isolation=isolation, on={"state_change": FORMS[form](it)})
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await worker.close()
        await asyncio.wait_for(running, LIMIT)

    assert [event.state.value for _, event in it.seen] == ["ACTIVE", "CLOSING", "CLOSED"]
    assert {loop for loop, _ in it.seen} == {asyncio.get_running_loop()}


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), CannotBeShown(), OSError()],
)
async def test_what_a_listener_raises_is_logged_with_its_name_and_affects_no_other(
    error: BaseException, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def a_bad_listener(event: Any) -> None:
        raise error

    async def a_bad_async_listener(event: Any) -> None:
        await asyncio.sleep(0)
        raise error

    bad = a_bad_listener if kind == "sync" else a_bad_async_listener
    seen: list[Any] = []
    async with faulty() as outside:
        worker = outside.worker(on={"state_change": bad})
        worker.add_event_listener("state_change", seen.append)
        with caplog.at_level(logging.WARNING, "inngest_connect"):
            running = asyncio.create_task(worker.start())
            await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
            result = await asyncio.wait_for(outside.gateway.invoke("app-echo"), LIMIT)
            await worker.close()
            await asyncio.wait_for(running, LIMIT)

    assert result.status == "completed"
    assert len(seen) == 3
    text = " ".join(record.getMessage() for record in caplog.records)
    assert bad.__name__ in text
    assert type(error).__name__ in text


async def test_an_async_listener_that_never_returns_holds_up_nothing_and_is_bounded() -> None:
    dropped: list[None] = []
    failed: list[Any] = []
    seen: list[Any] = []

    async def hangs(event: Any) -> None:
        await asyncio.sleep(1000)

    listeners = Subscriptions(lambda *what: failed.append(what), lambda: dropped.append(None))
    listeners.add(LOOP, hangs, "lease_lost")
    listeners.add(LOOP, seen.append, "lease_lost")
    for _ in range(MOST_WAITING + 11):
        listeners.call(LOOP, EVENT)
    await asyncio.sleep(0)  # one turn of the loop: it runs, and hangs
    listeners.cancel()
    await asyncio.wait_for(listeners.finished(), LIMIT)

    assert len(seen) == MOST_WAITING + 11
    assert len(dropped) == 10
    assert failed == []


async def test_start_ends_although_an_async_listener_never_returns() -> None:
    async def hangs(event: Any) -> None:
        await asyncio.sleep(1000)

    async with EmbeddedGateway() as gateway:
        worker = connect([make_app(gateway).pair], on={"connected": hangs})
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await worker.close()
        await asyncio.wait_for(running, LIMIT)


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_an_async_listener_finishes_its_work_on_the_last_event(isolation: str) -> None:
    saved: list[ConnectionState] = []

    async def save(event: Any) -> None:
        await asyncio.sleep(0.1)  # as a request to another service would take
        saved.append(event.state)

    async with faulty() as it:
        worker = it.worker(isolation=isolation, on={"state_change": save})
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await worker.close()
        await asyncio.wait_for(running, LIMIT)

    assert saved[-1] is ConnectionState.CLOSED


def test_one_async_callback_gets_the_events_of_all_its_names_in_order() -> None:
    seen: list[Any] = []

    async def slow_first(event: Any) -> None:
        await asyncio.sleep(0.02 if not seen else 0)
        seen.append(event)

    async def main() -> None:
        listeners = Subscriptions(ignore, ignore)
        listeners.add(LOOP, slow_first, "lease_lost")
        listeners.add(LOOP, slow_first, "draining")
        for number in range(3):
            listeners.call(LOOP, LeaseLost(str(2 * number), "run", "fn"))
            listeners.call(LOOP, Draining(str(2 * number + 1), "group"))
        await asyncio.wait_for(listeners.finished(), LIMIT)

    asyncio.run(main())

    numbers = [e.request_id if isinstance(e, LeaseLost) else e.connection_id for e in seen]
    assert numbers == ["0", "1", "2", "3", "4", "5"]


def generates(event: Any) -> Any:
    yield event


async def generates_async(event: Any) -> Any:
    yield event


@pytest.mark.parametrize(
    "callback", [generates, generates_async, functools.partial(generates), 7, None]
)
def test_what_cannot_be_called_usefully_is_refused_as_a_listener(callback: Any) -> None:
    with pytest.raises(ConfigurationError, match="lease_lost"):
        Subscriptions(ignore, ignore).add(LOOP, callback, "lease_lost")


@pytest.mark.parametrize("form", [name for name in FORMS if name != "lambda"])
async def test_an_async_observer_is_refused_with_the_remedy(form: str) -> None:
    async with EmbeddedGateway() as gateway:
        worker = connect([make_app(gateway).pair])
        with pytest.raises(ConfigurationError, match="add_event_listener"):
            worker.add_observer(FORMS[form](Async()))


class Equal:
    """All of them compare equal, or do not even compare."""

    def __init__(self, raises: bool) -> None:
        self.raises = raises
        self.seen: list[Any] = []

    def __eq__(self, other: object) -> bool:
        if self.raises:
            raise RuntimeError("no comparison")
        return True

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, event: Any) -> None:
        self.seen.append(event)


@pytest.mark.parametrize("raises", [False, True])
def test_listeners_that_compare_equal_are_two_listeners(raises: bool) -> None:
    one, other = Equal(raises), Equal(raises)
    listeners = Subscriptions(ignore, ignore)
    listeners.add(LOOP, one, "draining")
    listeners.add(LOOP, other, "draining")
    event = Draining("connection", "group")

    listeners.call(LOOP, event)
    listeners.remove(LOOP, other, "draining")
    listeners.call(LOOP, event)

    assert (len(one.seen), len(other.seen)) == (2, 1)


def test_a_method_is_the_same_listener_each_time_it_is_read() -> None:
    seen: list[Any] = []
    asynchronous = Async()
    listeners = Subscriptions(ignore, ignore)
    listeners.add(LOOP, seen.append, "draining")
    listeners.add(LOOP, asynchronous.method, "draining")

    listeners.remove(LOOP, seen.append, "draining")
    listeners.remove(LOOP, asynchronous.method, "draining")

    assert not listeners.wants(LOOP, "draining")


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("wait", [False, True])
async def test_a_listener_may_close_the_worker_and_remove_itself(
    isolation: Any, wait: bool
) -> None:
    calls: list[str] = []
    async with faulty() as it:
        worker = it.worker(isolation=isolation)

        async def close(event: Any) -> None:
            calls.append(event.name)
            worker.remove_event_listener("connected", close)
            await worker.close(wait=wait)

        worker.add_event_listener("connected", close)
        await asyncio.wait_for(worker.start(), LIMIT)

    assert calls == ["connected"]
    assert worker.state is ConnectionState.CLOSED
