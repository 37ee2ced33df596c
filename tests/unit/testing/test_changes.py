"""Changes: waiters check their condition after every change, and no sooner."""

import asyncio

import pytest

from inngest_connect.testing.changes import Changes

pytestmark = pytest.mark.unit


async def test_a_waiter_returns_after_the_change_that_fulfils_its_condition() -> None:
    changes, seen = Changes(), 0
    looks = 0

    def condition() -> bool:
        nonlocal looks
        looks += 1
        return seen >= 2

    waiting = asyncio.create_task(changes.until(condition, 10))
    for _ in range(2):
        await asyncio.sleep(0)
        seen += 1
        changes.happened()
    await waiting

    assert looks == 3


async def test_a_condition_that_holds_is_not_waited_for() -> None:
    await Changes().until(lambda: True, 0)


async def test_a_wait_ends_with_its_time_limit() -> None:
    with pytest.raises(TimeoutError):
        await Changes().until(lambda: False, 0.01)


async def test_waiters_can_be_cancelled_together() -> None:
    changes = Changes()
    waiting = [asyncio.create_task(changes.until(lambda: False)) for _ in range(2)]
    await asyncio.sleep(0)

    changes.cancel()

    assert await asyncio.gather(*waiting, return_exceptions=True) != []
    assert all(task.cancelled() for task in waiting)
