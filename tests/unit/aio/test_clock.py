"""The clock of a worker, which goes on while the machine sleeps."""

import asyncio
import sys
import time

import pytest

from inngest_connect import ConfigurationError
from inngest_connect.aio import clock

pytestmark = pytest.mark.unit

SLEEPING = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC_RAW"}
has_clock = pytest.mark.skipif(
    not hasattr(time, SLEEPING.get(sys.platform, "")), reason="no clock that goes on in a sleep"
)


class Machine:
    """Its clocks, by their numbers; ``awake`` is what ``steady`` shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.awake = 100.0
        self.asleep = 5000.0
        self.asked: set[int] = set()
        monkeypatch.setattr(clock, "steady", lambda: self.awake)
        monkeypatch.setattr(time, "clock_gettime", self._read)

    def _read(self, number: int) -> float:
        self.asked.add(number)
        return self.awake + self.asleep


@has_clock
def test_it_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monotonic = clock._make_clock()

    begun = monotonic()
    machine.awake += 1.0
    awake = monotonic()
    machine.asleep += 3600.0

    assert (begun, awake, monotonic()) == (100.0, 101.0, 3701.0)
    assert machine.asked == {getattr(time, SLEEPING[sys.platform])}


@pytest.mark.parametrize("why", ["not there", "forbidden"])
def test_without_such_a_clock_it_is_the_ordinary_one(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(number: int) -> float:
        raise PermissionError(1, "Operation not permitted")

    if why == "forbidden":
        monkeypatch.setattr(time, "clock_gettime", forbidden, raising=False)
    else:
        for name in SLEEPING.values():
            monkeypatch.delattr(time, name, raising=False)

    assert clock._make_clock() is clock.steady


class Frozen:
    """What freezegun does: every read of ``time.monotonic`` is the same, decades ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def freeze(self) -> None:
        def fake_monotonic() -> float:
            return 1_577_836_800.0

        fake_monotonic.__module__ = "freezegun.api"
        self._patch.setattr(time, "monotonic", fake_monotonic)


def test_a_loop_that_keeps_time_calls_its_timers_while_the_clock_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.new_event_loop()
    clock.keep_time(loop)
    Frozen(monkeypatch).freeze()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.sleep(0.01))

    assert abs(clock.steady() - loop.time()) < 60


def test_a_worker_is_not_started_on_a_loop_whose_clock_was_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ordinary, kept = asyncio.new_event_loop(), asyncio.new_event_loop()
    clock.keep_time(kept)
    clock.check_time(ordinary)
    Frozen(monkeypatch).freeze()

    with pytest.raises(ConfigurationError, match=r"freezegun has replaced .* real_asyncio=True"):
        clock.check_time(ordinary)
    clock.check_time(kept)

    ordinary.close()
    kept.close()


def test_a_loop_with_a_clock_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Virtual(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 7.0

    loop = Virtual()
    clock.keep_time(loop)
    Frozen(monkeypatch).freeze()
    clock.check_time(loop)

    assert loop.time() == 7.0
    loop.close()


def test_the_steady_clock_is_the_one_of_the_system_when_it_was_replaced_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Frozen(monkeypatch).freeze()

    assert abs(clock._make_steady()() - clock.steady()) < 60
