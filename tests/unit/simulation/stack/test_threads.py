from queue import Empty

import pytest

from simulation.stack.threads import Event, SimpleQueue, Thread, Until
from tests.unit.simulation.stack.world import World

pytestmark = pytest.mark.unit


def test_a_sleeping_thread_continues_when_its_time_has_come() -> None:
    world = World()
    woken = []

    def sleep() -> None:
        world.machine.sleep(5.0)
        woken.append(world.now)

    world.machine.spawn(sleep, "sleeper")
    world.run()

    assert woken == [5.0]


def test_a_joined_thread_has_ended() -> None:
    world = World()
    order = []

    def work() -> None:
        world.machine.sleep(1.0)
        order.append("worker")

    def wait() -> None:
        worker = world.machine.spawn(work, "worker")
        worker.join()
        order.append(f"main {worker.is_alive()}")

    world.machine.spawn(wait, "main")
    world.run()

    assert order == ["worker", "main False"]


def test_a_join_gives_up_at_its_limit() -> None:
    world = World()
    waited = []

    def wait() -> None:
        worker = world.machine.spawn(lambda: world.machine.sleep(9.0), "worker")
        worker.join(2.0)
        waited.append((world.now, worker.is_alive()))

    world.machine.spawn(wait, "main")
    world.run()

    assert waited == [(2.0, True)]


def test_an_event_releases_its_waiter() -> None:
    world = World()
    event = Event(world.machine)
    seen = []
    world.machine.spawn(lambda: seen.append((event.wait(10.0), world.now)), "waiter")

    def set_it() -> None:
        world.machine.sleep(3.0)
        event.set()

    world.machine.spawn(set_it, "setter")
    world.run()

    assert seen == [(True, 3.0)]


def test_an_event_that_is_not_set_is_waited_for_until_its_limit() -> None:
    world = World()
    seen = []
    event = Event(world.machine)
    world.machine.spawn(lambda: seen.append((event.wait(10.0), world.now)), "waiter")
    world.run()

    assert seen == [(False, 10.0)]


def test_a_queue_gives_its_items_in_order_and_is_empty_then() -> None:
    world = World()
    queue = SimpleQueue(world.machine)
    got = []

    def take() -> None:
        got.append(queue.get())
        got.append(queue.get())
        with pytest.raises(Empty):
            queue.get_nowait()

    world.machine.spawn(take, "taker")
    world.machine.spawn(lambda: [queue.put("first"), queue.put("second")], "giver")
    world.run()

    assert got == ["first", "second"]


def _order(seed: int) -> list[int]:
    world = World(seed)
    order: list[int] = []

    def step(number: int) -> None:
        for _ in range(5):
            world.machine.block(Until(0.0))
            order.append(number)

    for number in range(3):
        world.machine.spawn(lambda number=number: step(number), f"thread {number}")
    world.run()
    return order


def test_the_seed_decides_which_thread_continues() -> None:
    orders = [_order(seed) for seed in range(5)]

    assert [_order(seed) for seed in range(5)] == orders
    assert len({tuple(order) for order in orders}) == 5


def test_a_paused_thread_does_not_continue_before() -> None:
    world = World()
    times = []

    def work() -> None:
        world.machine.block(Until(0.0))
        times.append(world.now)

    world.machine.spawn(work, "worker").paused_until = 7.0
    world.run()

    assert times == [7.0]


def test_a_process_at_its_limit_of_threads_starts_no_other() -> None:
    world = World()
    world.machine.most_threads = 0

    with pytest.raises(RuntimeError, match="can't start new thread"):
        Thread(world.machine, print).start()


def test_killed_threads_do_not_go_on() -> None:
    world = World()
    reached = []

    def work() -> None:
        try:
            world.machine.sleep(1.0)
            reached.append("after the sleep")
        finally:
            world.machine.sleep(1.0)
            reached.append("after the end")

    world.machine.spawn(work, "worker")
    ready, _ = world.machine.poll(world.now)
    world.machine.run_one(ready)
    world.machine.kill()

    assert reached == []
    assert world.machine.threads == []
