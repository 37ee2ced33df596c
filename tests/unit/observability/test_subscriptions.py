"""Who is called with an event, and what happens to one that raises."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from inngest_connect import EVENT_NAMES, ConfigurationError, Draining, LeaseLost
from inngest_connect.observability.callbacks import Callback
from inngest_connect.observability.subscriptions import Subscriptions, Where

pytestmark = pytest.mark.unit
EVENT = LeaseLost("r", "run", "fn")
LOOP = Where.APPLICATION_LOOP


def ignore(*_: object) -> None:
    """What a test does not look at."""


def subscriptions(failed: Callable[[str, Callback, BaseException], None] = ignore) -> Subscriptions:
    return Subscriptions(failed, ignore)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_the_event_names_are_the_documented_ones() -> None:
    assert EVENT_NAMES == (
        "state_change", "connected", "disconnected", "heartbeat", "draining", "reconnecting",
        "request_received", "request_started", "function_failed", "request_completed",
        "reply_acknowledged", "lease_lost", "recovered",
        "websocket_open", "websocket_close", "websocket_error", "error",
    )  # fmt: skip


def test_only_those_who_asked_for_an_event_receive_it() -> None:
    received: list[object] = []
    listeners = subscriptions()
    listeners.add(LOOP, received.append, "lease_lost")

    listeners.call(LOOP, EVENT)
    listeners.call(LOOP, Draining("c", "g"))

    assert received == [EVENT]
    assert listeners.wants(LOOP, "lease_lost")
    assert not listeners.wants(LOOP, "draining")


def test_a_listener_that_raises_is_reported_and_the_next_one_is_called() -> None:
    received: list[object] = []
    reported: list[tuple[str, BaseException]] = []
    listeners = subscriptions(lambda name, _, error: reported.append((name, error)))
    listeners.add(LOOP, lambda _: 1 / 0, "lease_lost")
    listeners.add(LOOP, received.append, "lease_lost")

    listeners.call(LOOP, EVENT)

    assert received == [EVENT]
    assert [name for name, _ in reported] == ["lease_lost"]


def test_removing_is_possible_in_two_ways_and_more_than_once() -> None:
    received: list[object] = []
    listeners = subscriptions()
    remove = listeners.add(LOOP, received.append, "lease_lost")
    listeners.add(LOOP, received.append, "lease_lost")

    remove()
    listeners.call(LOOP, EVENT)
    listeners.remove(LOOP, received.append, "lease_lost")
    listeners.remove(LOOP, received.append, "lease_lost")
    listeners.call(LOOP, EVENT)

    assert received == [EVENT]


def test_unknown_names_and_things_that_cannot_be_called_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'state_change'"):
        subscriptions().add(LOOP, print, "state_changed")
    with pytest.raises(ConfigurationError, match="there are: state_change"):
        subscriptions().add(LOOP, print, "zzz")
    with pytest.raises(ConfigurationError, match="unknown event 5"):
        subscriptions().remove(LOOP, print, 5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not callable: 'print'"):
        subscriptions().add(LOOP, "print", "error")  # type: ignore[arg-type]


def test_a_listener_that_returns_a_generator_is_reported() -> None:
    """A plain function can do so unnoticed, and nothing of it would run."""
    failed: list[BaseException] = []
    listeners = subscriptions(lambda name, _, error: failed.append(error))
    listeners.add(LOOP, lambda event: (one for one in [event]), "lease_lost")

    listeners.call(LOOP, EVENT)

    assert "returned a generator" in str(failed[0])


def test_a_listener_that_was_added_several_times_is_removed_once() -> None:
    received: list[object] = []
    listeners = subscriptions()
    listeners.add(LOOP, received.append, "lease_lost")
    listeners.add(LOOP, received.append, "lease_lost")
    listeners.add(LOOP, received.append, "lease_lost")

    listeners.remove(LOOP, received.append, "lease_lost")
    listeners.call(LOOP, EVENT)

    assert received == [EVENT, EVENT]


@pytest.mark.parametrize("where", Where)
def test_each_place_has_subscribers_of_its_own(where: Where) -> None:
    received: list[object] = []
    everyone = subscriptions()
    everyone.add(where, received.append)

    for each in Where:
        everyone.call(each, EVENT)

    assert received == [EVENT]


def test_a_subscriber_without_a_name_receives_every_event_until_it_is_removed() -> None:
    received: list[object] = []
    everyone = subscriptions()
    remove = everyone.add(Where.OUTLET, received.append)

    for event in (EVENT, Draining("c", "g")):
        everyone.call(Where.OUTLET, event)
    wanted = everyone.wanted
    remove()
    everyone.call(Where.OUTLET, EVENT)

    assert received == [EVENT, Draining("c", "g")]
    assert wanted == frozenset(EVENT_NAMES)
    assert everyone.wanted == frozenset()


@pytest.mark.parametrize("where", [place for place in Where if place is not LOOP])
def test_what_nothing_awaits_is_closed_and_reported(where: Where) -> None:
    """A plain function may return a coroutine: no warning that it was never awaited follows."""
    failed: list[BaseException] = []
    everyone = subscriptions(lambda name, _, error: failed.append(error))

    async def work() -> None:
        """Never runs."""

    everyone.add(where, lambda _: work())
    everyone.call(where, EVENT)

    assert "returned an awaitable" in str(failed[0])


async def test_what_has_waited_for_an_async_listener_is_received_in_order_whatever_it_returns() -> (
    None
):
    """It may be a plain function that returns something to await for some events only."""
    received: list[str] = []
    free = asyncio.Event()

    def receive(event: LeaseLost) -> object:
        received.append(event.request_id)
        return free.wait() if event.request_id in ("r0", "r3") else None

    subscribed = subscriptions()
    subscribed.add(LOOP, receive, "lease_lost")
    for number in range(6):
        subscribed.call(LOOP, LeaseLost(f"r{number}", "run", "fn"))
    first = list(received)
    free.set()
    await subscribed.finished()
    subscribed.call(LOOP, LeaseLost("r6", "run", "fn"))

    assert first == ["r0"]
    assert received == [f"r{number}" for number in range(7)]


def test_subscribers_are_added_and_removed_by_several_threads(hasty_threads: None) -> None:
    everyone = subscriptions()
    received: list[object] = []
    everyone.add(Where.OBSERVING_THREAD, received.append)

    def come_and_go(_: int) -> None:
        for _ in range(300):
            everyone.add(Where.OBSERVING_THREAD, lambda _: None)()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    everyone.call(Where.OBSERVING_THREAD, EVENT)

    assert received == [EVENT]
    assert len(everyone._all(Where.OBSERVING_THREAD)) == len(EVENT_NAMES)


def test_the_garbage_collector_may_remove_a_subscriber_while_another_is_added() -> None:
    everyone = subscriptions()

    class Forgotten:
        """In a cycle, so that only the collector finds it."""

        def __init__(self) -> None:
            self.itself = self
            self.remove = everyone.add(Where.AFTER_LISTENERS, lambda _: None, "state_change")

        def __del__(self) -> None:
            self.remove()

    before = gc.get_threshold()
    gc.set_threshold(1)  # at every allocation of a container
    try:
        for _ in range(50):
            Forgotten()
            everyone.add(Where.OUTLET, lambda _: None)()
    finally:
        gc.set_threshold(*before)
    gc.collect()

    assert not everyone.wants(Where.OUTLET, "state_change")
