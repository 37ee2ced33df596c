"""A retry strategy of the user: whatever it does, the worker comes back, and the error names it."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from inngest_connect import ConnectionState, ErrorOccurred, ScheduleRetry
from inngest_connect.aio.hook import Hook
from inngest_connect.core import retry as retry_module
from tests.errors.faulty import faulty
from tests.field.odd_objects import NoClass, NoName, NumberWithMethods

pytestmark = pytest.mark.field
LIMIT = 20.0


class CannotBeShown(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raises(error: BaseException) -> Callable[..., Any]:
    def delay(failures: int, random: Callable[[], float]) -> float:
        raise error

    return delay


def returns(value: object) -> Callable[..., Any]:
    return lambda failures, random: value


async def answers_nothing(failures: int, random: Callable[[], float]) -> None:
    return None


BAD: dict[str, tuple[Callable[..., Any], str]] = {
    "None": (returns(None), "value of type NoneType"),
    "str": (returns("1"), "value of type str"),
    "bool": (returns(True), "value of type bool"),
    "NaN": (returns(math.nan), "nan"),
    "negative": (returns(-1.0), "-1"),
    "infinite": (returns(math.inf), "inf"),
    "enormous": (returns(10**5000), "a number"),
    "a week": (returns(7 * 86400.0), "604800"),
    "raises": (raises(KeyError("x")), "KeyError"),
    "exits": (raises(SystemExit(3)), "SystemExit"),
    "cannot be shown": (raises(CannotBeShown()), "CannotBeShown"),
    "no class": (returns(NoClass()), "SystemExit"),
    "no name": (returns(NoName()), "value of type NoName"),
    "number with methods": (returns(NumberWithMethods(-3.5)), "-3.5"),
    "raises without a class": (raises(type("Odd", (NoClass, Exception), {})()), "Odd"),
    "async": (answers_nothing, "value of type NoneType"),
}


class Mine(ScheduleRetry):
    def __init__(self, delay: Callable[..., Any]) -> None:
        super().__init__()
        self.asked = delay

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        return self.asked(failures, random)  # type: ignore[no-any-return]


async def fails_and_comes_back(delay: Callable[..., Any], isolation: str) -> list[ErrorOccurred]:
    """The first call of the API fails; returns the errors about the strategy."""
    errors: list[ErrorOccurred] = []
    async with faulty() as it:
        it.gateway.http.simulate_server_error(times=1)
        begun = time.monotonic()
        async with it.worker(
            retry=Mine(delay), isolation=isolation, on={"error": errors.append}
        ) as worker:
            await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
            waited = time.monotonic() - begun
            await asyncio.sleep(0)
    assert waited >= 0.45  # the default schedule's first delay after a failure, less jitter
    return [error for error in errors if error.kind == "retry_strategy_failed"]


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("name", BAD)
async def test_rubbish_is_named_and_the_default_schedule_is_used(name: str, isolation: str) -> None:
    delay, expected = BAD[name]

    named = await fails_and_comes_back(delay, isolation)

    assert named
    assert "Mine" in named[0].message
    assert expected in named[0].message


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_a_strategy_that_never_returns_delays_one_attempt(
    isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hook.__init__, "__defaults__", (0.5,))
    released = threading.Event()
    threads: list[threading.Thread] = []

    def blocks(failures: int, random: Callable[[], float]) -> float:
        threads.append(threading.current_thread())
        released.wait()
        return 0.0

    try:
        named = await fails_and_comes_back(blocks, isolation)
    finally:
        released.set()

    assert "did not return within 0.5 s" in named[0].message
    assert threads[0].daemon
    assert threads[0] is not threading.main_thread()


async def test_a_good_strategy_is_asked_and_obeyed_off_the_io_thread() -> None:
    threads: list[str] = []

    def delay(failures: int, random: Callable[[], float]) -> float:
        threads.append(threading.current_thread().name)
        return 0.9

    assert await fails_and_comes_back(delay, "thread") == []
    assert threads == ["inngest-connect-retry"]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1, "1", None, 90_000, True])
def test_schedules_with_a_delay_that_is_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="retry schedule needs delays of 0 to 86400 s"):
        retry_module.ScheduleRetry([0, wrong])
    with pytest.raises(ValueError, match="retry delay is 0 to 86400 s"):
        retry_module.FixedRetry(wrong)
