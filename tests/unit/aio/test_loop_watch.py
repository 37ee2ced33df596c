"""LoopWatch: a blocked loop is seen from outside while it is blocked."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from inngest_connect.aio.loop_watch import TICK_SECONDS, LoopWatch

pytestmark = pytest.mark.unit


async def test_a_loop_that_runs_is_not_late() -> None:
    watch = LoopWatch(asyncio.get_running_loop())
    watch.start()

    await asyncio.sleep(2 * TICK_SECONDS)

    assert watch.lag() < 10.0
    watch.stop()
    assert watch.lag() == 0.0


async def test_a_blocked_loop_is_seen_from_another_thread() -> None:
    watch = LoopWatch(asyncio.get_running_loop())
    watch.start()
    seen = threading.Event()

    def look() -> None:
        while watch.lag() < 0.2:
            time.sleep(0.01)
        seen.set()

    threading.Thread(target=look, daemon=True).start()
    assert seen.wait(30.0)  # blocks this loop until the other thread has noticed it
    watch.stop()


async def test_the_lag_stays_known_until_the_next_tick() -> None:
    watch = LoopWatch(asyncio.get_running_loop())
    watch.start()
    time.sleep(TICK_SECONDS + 0.2)  # noqa: ASYNC251 - blocking is the point

    await asyncio.sleep(0)  # the tick that was overdue
    await asyncio.sleep(0)

    assert watch.lag() >= 0.2
    watch.stop()


class Clock:
    """A loop that runs nothing by itself, and the time as the watch sees it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def call_later(self, delay: float, action: Callable[[], None]) -> "Clock":
        self.timers.append((self.now + delay, action))
        return self

    def cancel(self) -> None:
        self.timers.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("inngest_connect.aio.loop_watch.steady", clock.monotonic)
    return clock


def test_each_tick_plans_the_next_one(clock: Clock) -> None:
    watch = LoopWatch(clock)  # type: ignore[arg-type]
    watch.start()
    lags = []
    for late in (0.0, 0.5, 0.0, 0.0):
        ((due_at, tick),) = clock.timers
        clock.timers.clear()
        clock.now = due_at + late
        tick()
        lags.append(watch.lag())

    assert lags == [0.0, 0.5, 0.0, 0.0]


def test_a_watch_that_was_stopped_is_never_late(clock: Clock) -> None:
    watch = LoopWatch(clock)  # type: ignore[arg-type]
    watch.start()
    watch.stop()
    clock.now += 1000.0

    assert watch.lag() == 0.0
    assert clock.timers == []
