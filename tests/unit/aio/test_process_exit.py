"""ExitLimit: ends the process when a block is not left in time, and never afterwards."""

import threading
from collections.abc import Callable

import pytest

from inngest_connect.aio import process_exit
from inngest_connect.aio.process_exit import ExitLimit

pytestmark = pytest.mark.unit
LIMIT = 20.0


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> "Exits":
    exits = Exits()
    monkeypatch.setattr(process_exit, "exit_now", exits)
    return exits


class Exits:
    """In place of the end of the process."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.happened = threading.Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self.happened.set()


@pytest.fixture
def watches() -> Callable[[], list[threading.Thread]]:
    """The threads that the test has started; those of other tests end with the process."""
    before = set(threading.enumerate())
    return lambda: [
        thread
        for thread in threading.enumerate()
        if thread.name == "inngest-connect-exit" and thread not in before
    ]


@pytest.mark.parametrize(("always", "left"), [(True, []), (False, ["r1"]), (True, ["r1"])])
def test_a_block_that_is_not_left_ends_the_process_and_names_the_requests(
    always: bool, left: list[str], exits: Exits
) -> None:
    with ExitLimit(lambda: left, always=always) as limit:
        limit.within(0.05)
        assert exits.happened.wait(LIMIT)

    (reason,) = exits.reasons
    assert ("not finished: r1" in reason) is bool(left)


def test_a_block_that_is_left_in_time_never_ends_the_process(
    exits: Exits, watches: Callable[[], list[threading.Thread]]
) -> None:
    with ExitLimit(lambda: ["r1"], always=True) as limit:
        limit.within(30.0)
    for watch in watches():
        watch.join(LIMIT)
    limit.within(0.0)
    for watch in watches():
        watch.join(LIMIT)

    assert exits.reasons == []
    assert watches() == []


def test_without_work_left_behind_a_program_that_goes_on_is_not_ended(
    exits: Exits, watches: Callable[[], list[threading.Thread]]
) -> None:
    with ExitLimit(list, always=False) as limit:
        limit.within(0.01)
        for watch in watches():
            watch.join(LIMIT)

    assert exits.reasons == []
