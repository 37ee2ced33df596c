import hashlib
import threading
from dataclasses import replace
from typing import Any

import pytest

from inngest_connect.aio import process_exit
from simulation import Entry, Timeline
from simulation.stack import StackSimulation, make_stack_schedule

pytestmark = pytest.mark.unit


def _timeline(seed: int) -> str:
    timeline = Timeline()
    StackSimulation(make_stack_schedule(seed), note=timeline).run()
    return timeline.text()


@pytest.mark.parametrize("seed", [3, 11, 20])
def test_a_seed_replays_itself(seed: int) -> None:
    first, second = _timeline(seed), _timeline(seed)

    assert hashlib.sha256(first.encode()).digest() == hashlib.sha256(second.encode()).digest()


def test_the_real_worker_runs_functions_and_answers_over_the_simulated_network() -> None:
    requests = tuple(Entry(at, "request", 1.0, "async") for at in (1.0, 2.0, 3.0))
    schedule = replace(make_stack_schedule(1), entries=requests, quiet_from=5.0)

    simulation = StackSimulation(schedule).run()

    ledger = simulation.model.ledger
    assert ledger.dispatched == 3
    assert ledger.answered == 3
    assert simulation.program.heard[-1].value == "CLOSED"


def test_a_real_thread_that_lives_meanwhile_gets_what_is_real() -> None:
    found: list[object] = []

    def ask() -> None:
        watching: Any = vars(process_exit)["threading"]
        found.extend((watching.main_thread(), watching.main_thread() in watching.enumerate()))

    def note(*_: object) -> None:
        if not found:
            asking = threading.Thread(target=ask)
            asking.start()
            asking.join()

    StackSimulation(make_stack_schedule(3), note=note).run()

    assert found == [threading.main_thread(), True]
