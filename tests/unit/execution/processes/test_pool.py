"""ChildPool: which children it starts, and when it gives up."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from inngest_connect.execution.executor import ExecutorPorts
from inngest_connect.execution.processes.child import Child
from inngest_connect.execution.processes.pool import ChildPool, ProcessSettings

pytestmark = pytest.mark.unit


class PoolUnderTest(ChildPool):
    """What it observed, and no process."""

    def __init__(self, processes: int) -> None:
        self.observed: list[Any] = []
        settings = ProcessSettings("shop:apps", processes, None, None, 1, 1.0)
        ports = ExecutorPorts(
            loop=asyncio.get_running_loop(),
            run_request=lambda _: pytest.fail("not here"),
            can_cancel=lambda _: True,
            post=lambda _: None,
            observe=self.observed.append,
            functions={},
        )
        super().__init__(settings, ports, lambda: None)
        self._loop = ports.loop


def child_of(pool: ChildPool) -> Child:
    loop = asyncio.get_running_loop()
    return Child({"target": "shop:apps"}, 1.0, loop, pool, lambda _: None, lambda _: None)


async def test_a_pool_that_stops_replaces_no_child() -> None:
    pool = PoolUnderTest(1)
    await pool.stop()

    pool.expire(child_of(pool))

    assert not pool._children


async def test_a_child_that_becomes_ready_ends_the_count_of_failed_starts() -> None:
    """Ten in a row end the worker, and not ten in a month."""
    pool = PoolUnderTest(1)
    for _ in range(30):
        pool._start_failed("ended with code 1")
        assert pool._retry is not None
        pool._retry.cancel()
        pool._retry = None
        pool.child_ready(child_of(pool), {})
        pool.serving.clear()

    assert pool.broken is None
    assert {error.message.partition("started in ")[2] for error in pool.observed} == {"0.5 s"}


async def test_a_pool_forgets_a_child_that_has_ended() -> None:
    """With ``max_executions`` a pool has thousands of them in a day."""

    class StartsNothing(PoolUnderTest):
        def _top_up(self) -> None: ...

    pool = StartsNothing(1)

    def ended() -> "weakref.ref[Child]":
        child = child_of(pool)
        pool._children.add(child)
        pool.child_ready(child, {})
        pool.expire(child)
        pool._warned.add(child)
        child.ready = child.stopping = True
        pool.child_ended(child)
        return weakref.ref(child)

    forgotten = [ended() for _ in range(3)]
    gc.collect()

    assert [each() for each in forgotten] == [None] * 3


async def test_two_starts_that_fail_together_are_one_failure() -> None:
    pool = PoolUnderTest(2)

    pool._start_failed("ended with code 1")
    pool._start_failed("ended with code 1")

    assert [error.kind for error in pool.observed] == ["child_process_died"]
    await pool.stop()


async def test_a_child_that_is_ready_just_after_the_start_was_cancelled_does_no_harm() -> None:
    class StartsNothing(PoolUnderTest):
        def _top_up(self) -> None: ...

    pool = StartsNothing(1)
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0)
    starting.cancel()

    pool.child_ready(child_of(pool), {})  # before ``start`` has its next turn
    await asyncio.wait([starting])

    assert starting.cancelled()
    assert len(pool.serving) == 1
