"""HandOver: no item is lost or overtaken, and a batch costs one wake-up."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from inngest_connect.aio.hand_over import HandOver

pytestmark = pytest.mark.unit


class Loop:
    """Counts wake-ups and runs them when the test asks for it."""

    def __init__(self, closed: bool = False) -> None:
        self.wake_ups: list[Callable[[], None]] = []
        self.closed = closed

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.wake_ups.append(callback)

    def run(self) -> None:
        callbacks, self.wake_ups = self.wake_ups, []
        for callback in callbacks:
            callback()


def hand_over(loop: Loop, receive: Callable[[int], None], on_closed: Any = None) -> HandOver[int]:
    return HandOver(loop, receive, on_closed)  # type: ignore[arg-type]


def test_any_number_of_items_costs_one_wake_up_and_keeps_its_order() -> None:
    loop, received = Loop(), list[int]()
    items = hand_over(loop, received.append)

    for number in range(1000):
        items.put(number)
    wake_ups = len(loop.wake_ups)
    loop.run()

    assert wake_ups == 1
    assert received == list(range(1000))


def test_an_item_put_while_others_are_taken_wakes_the_loop_again() -> None:
    loop, received = Loop(), list[int]()

    def receive(item: int) -> None:
        received.append(item)
        if item == 0:
            items.put(1)

    items = hand_over(loop, receive)
    items.put(0)
    loop.run()

    assert received == [0]
    assert len(loop.wake_ups) == 1
    loop.run()
    assert received == [0, 1]


def test_a_closed_loop_is_noticed_once_and_never_raised() -> None:
    closed: list[str] = []
    items = hand_over(Loop(closed=True), print, lambda: closed.append("closed"))

    items.put(1)
    items.put(2)

    assert closed == ["closed"]


async def test_items_cross_between_real_threads() -> None:
    received: list[int] = []
    done = asyncio.Event()

    def receive(item: int) -> None:
        received.append(item)
        if item == 9_999:
            done.set()

    items: HandOver[int] = HandOver(asyncio.get_running_loop(), receive)
    await asyncio.to_thread(lambda: [items.put(number) for number in range(10_000)])
    await asyncio.wait_for(done.wait(), 10)

    assert received == list(range(10_000))


def test_an_item_that_a_signal_handler_puts_in_the_middle_of_another_put_is_received() -> None:
    """The handler runs after the flag was set and before the drain was scheduled."""
    loop, received = Loop(), list[int]()
    items = hand_over(loop, received.append)
    schedule = loop.call_soon_threadsafe

    def interrupted(callback: Callable[[], None]) -> None:
        loop.call_soon_threadsafe = schedule  # type: ignore[method-assign]
        items.put(2)
        schedule(callback)

    loop.call_soon_threadsafe = interrupted  # type: ignore[method-assign]
    items.put(1)
    loop.run()

    assert received == [1, 2]


def test_what_was_added_waits_for_the_wake_up_and_is_received_once() -> None:
    loop, received, batches = Loop(), list[int](), list[int]()
    items: HandOver[int] = HandOver(
        loop,  # type: ignore[arg-type]
        received.append,
        after=lambda: batches.append(len(received)),
    )

    items.add(1)
    items.add(2)
    before = len(loop.wake_ups)
    items.wake()
    items.drain()  # by the receiver itself, before the one that is planned
    items.add(3)
    loop.run()

    assert before == 0
    assert received == [1, 2, 3]
    assert batches == [2, 3]
    assert items.waiting == 0


def test_a_signal_handler_that_raises_in_the_middle_of_a_wake_up_does_not_stop_the_next() -> None:
    loop, received = Loop(), list[int]()
    items = hand_over(loop, received.append)
    schedule = loop.call_soon_threadsafe

    def interrupted(callback: Callable[[], None]) -> None:
        loop.call_soon_threadsafe = schedule  # type: ignore[method-assign]
        raise KeyboardInterrupt

    loop.call_soon_threadsafe = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        items.put(1)
    items.put(2)
    loop.run()

    assert received == [1, 2]
