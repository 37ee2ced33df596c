import asyncio

import pytest

from simulation.stack.event_loop import VirtualLoop
from simulation.stack.threads import Until
from tests.unit.simulation.stack.world import World

pytestmark = [
    pytest.mark.unit,
    pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning"),
]


def _run(world: World, main: object) -> VirtualLoop:
    loop = VirtualLoop(world.machine)
    world.machine.spawn(lambda: loop.run_until_complete(main), "main")  # type: ignore[arg-type]
    world.run()
    return loop


def test_timers_follow_the_virtual_clock() -> None:
    world = World()
    woken = []

    async def main() -> None:
        await asyncio.sleep(3600.0)
        woken.append(asyncio.get_running_loop().time())

    _run(world, main()).close()

    assert woken == [3600.0]


def test_another_thread_runs_between_two_handles() -> None:
    world = World()
    order = []

    async def main() -> None:
        for _ in range(20):
            order.append("loop")
            await asyncio.sleep(0)

    def other() -> None:
        for _ in range(20):
            order.append("thread")
            world.machine.block(Until(0.0))

    world.machine.spawn(other, "other")
    _run(world, main()).close()

    assert sorted(order) != order
    assert sorted(order, reverse=True) != order


def test_what_runs_in_an_executor_does_not_block_the_loop() -> None:
    world = World()
    seen = []

    async def main() -> None:
        working = asyncio.get_running_loop().run_in_executor(None, world.machine.sleep, 5.0)
        await asyncio.sleep(1.0)
        seen.append((world.now, working.done()))
        await working
        seen.append((world.now, working.done()))

    _run(world, main()).close()

    assert seen == [(1.0, False), (5.0, True)]


def test_a_call_from_another_thread_is_a_violation() -> None:
    world = World()
    loop = VirtualLoop(world.machine)

    def other() -> None:
        loop.call_soon_threadsafe(lambda: None)
        assert world.violations == []
        loop.call_soon(lambda: None)

    world.machine.spawn(lambda: loop.run_until_complete(asyncio.sleep(1.0)), "main")
    ready, _ = world.machine.poll(0.0)
    world.machine.run_one(ready)
    world.machine.spawn(other, "other")
    world.run()
    loop.close()

    assert world.violations == ["a loop is used by another thread than its own"]


def test_code_that_blocks_keeps_its_own_loop_only() -> None:
    world = World()
    first, second = VirtualLoop(world.machine), VirtualLoop(world.machine)
    times = []

    async def blocks() -> None:
        world.machine.sleep(10.0)
        times.append(("blocked", world.now, asyncio.get_running_loop() is first))

    async def goes_on() -> None:
        await asyncio.sleep(1.0)
        times.append(("other", world.now, asyncio.get_running_loop() is second))

    world.machine.spawn(lambda: first.run_until_complete(blocks()), "first")
    world.machine.spawn(lambda: second.run_until_complete(goes_on()), "second")
    world.run()
    first.close()
    second.close()

    assert times == [("other", 1.0, True), ("blocked", 10.0, True)]
