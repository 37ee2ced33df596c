"""Announcer: masks what it passes on, and no receiver keeps another from receiving it."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from inngest_connect.core import events as seen
from inngest_connect.errors import NotConnectedError
from inngest_connect.observability.announcer import Announcer
from inngest_connect.observability.logger import ConnectLogger
from inngest_connect.observability.outlet import MOST_ITEMS
from inngest_connect.observability.redaction import Redactor
from inngest_connect.observability.subscriptions import Where
from inngest_connect.state_machine import ConnectionState as S
from tests.unit.observability.log_capture import Capture, captured

pytestmark = pytest.mark.unit
LIMIT = 20.0
CHANGE = seen.StateChanged(S.CONNECTING, S.ACTIVE)


def announcer() -> tuple[Announcer, Capture]:
    logger, log = captured(logging.INFO)
    return Announcer(Redactor(["canary-5e1f"]), ConnectLogger(logger)), log


def drain(announcer: Announcer) -> None:
    announcer.close()
    assert announcer._drained is not None
    announcer._drained.result(LIMIT)


def raises(error: BaseException) -> Callable[[Any], object]:
    def receive(_: Any) -> object:
        raise error

    return receive


@pytest.mark.parametrize("where", [Where.OBSERVING_THREAD, Where.OUTLET])
def test_a_secret_reaches_neither_counters_nor_observers(where: Where) -> None:
    events, _ = announcer()
    received: list[Any] = []
    events.subscriptions.add(where, received.append)

    events.publish(seen.ErrorOccurred("kind", "token canary-5e1f"))
    drain(events)

    assert [event.message for event in received] == ["token ***"]


@pytest.mark.parametrize("where", [Where.OBSERVING_THREAD, Where.OUTLET])
@pytest.mark.parametrize("error", [RuntimeError("no"), ValueError("no")], ids=repr)
def test_who_raises_keeps_no_other_from_receiving(where: Where, error: Exception) -> None:
    events, log = announcer()
    received: list[Any] = []
    events.subscriptions.add(where, raises(error))
    events.subscriptions.add(where, received.append)

    events.publish(CHANGE)
    events.publish(CHANGE)
    drain(events)

    assert received == [CHANGE, CHANGE]
    assert "raises.<locals>.receive" in log.printed.getvalue()


@pytest.mark.parametrize("where", [Where.OBSERVING_THREAD, Where.OUTLET])
def test_a_secret_in_what_a_subscriber_raises_is_masked_before_it_waits_for_the_log(
    where: Where,
) -> None:
    """By the time that it is written, the token may be too old for the log to know it."""
    events, log = announcer()
    events.subscriptions.add(where, raises(ValueError("with canary-5e1f")))

    events.publish(CHANGE)
    drain(events)

    assert "ValueError: with ***" in log.printed.getvalue()
    assert "canary" not in log.everything()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_observer_that_exits_ends_nothing(error: BaseException) -> None:
    events, log = announcer()
    received: list[Any] = []
    events.subscriptions.add(Where.OUTLET, raises(error))
    events.subscriptions.add(Where.OUTLET, received.append)

    events.publish(CHANGE)
    events.publish(CHANGE)
    drain(events)

    assert received == [CHANGE, CHANGE]
    assert type(error).__name__ in log.printed.getvalue()


def test_what_was_dropped_is_reported_once_and_not_before_it_flows_again() -> None:
    events, log = announcer()
    places = threading.Semaphore(0)
    begun = [threading.Event(), threading.Event()]

    def receive(_: Any) -> None:
        for event in begun:
            if not event.is_set():
                event.set()
                break
        assert places.acquire(timeout=LIMIT)

    events.subscriptions.add(Where.OUTLET, receive)
    events.publish(CHANGE)
    assert begun[0].wait(LIMIT)
    for _ in range(MOST_ITEMS + 100):
        events.publish(CHANGE)
    places.release()
    assert begun[1].wait(LIMIT)  # the first one is delivered, and nearly all others wait
    while_full = log.printed.getvalue()
    places.release(2 * MOST_ITEMS)
    drain(events)

    assert "records_dropped" not in while_full
    assert log.printed.getvalue().count("records_dropped") == 1
    assert "100 records were dropped" in log.printed.getvalue()


async def test_a_listener_knows_of_a_state_before_those_who_wait_for_it() -> None:
    """A race between two threads: with the other order some of these rounds fail."""
    events, _ = announcer()
    loop, received = asyncio.get_running_loop(), list[Any]()
    events.listen_on(loop)
    events.subscriptions.add(Where.APPLICATION_LOOP, received.append, "state_change")

    for count in range(1, 301):
        waiting = loop.create_task(
            events.subscriptions.wait_for_state(S.ACTIVE, lambda: S.CONNECTING)
        )
        await asyncio.sleep(0)
        publishing = loop.run_in_executor(None, events.publish, CHANGE)
        await waiting

        assert len(received) == count
        await publishing


async def test_those_who_wait_for_a_state_are_released_when_a_worker_ends_without_an_event() -> (
    None
):
    events, _ = announcer()
    waiting = [
        asyncio.create_task(events.subscriptions.wait_for_state(wanted, lambda: S.CONNECTING))
        for wanted in (S.ACTIVE, S.CLOSED)
    ]
    await asyncio.sleep(0)

    events.ended()
    active, closed = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), LIMIT)

    assert isinstance(active, NotConnectedError)
    assert closed is None
    assert not events.subscriptions.wants(Where.AFTER_LISTENERS, "state_change")
