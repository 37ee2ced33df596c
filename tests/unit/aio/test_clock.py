"""The clock of a worker, which goes on while the machine sleeps."""

import sys
import time

import pytest

from inngest_connect.aio import clock

pytestmark = pytest.mark.unit

SLEEPING = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC_RAW"}
has_clock = pytest.mark.skipif(
    not hasattr(time, SLEEPING.get(sys.platform, "")), reason="no clock that goes on in a sleep"
)


class Machine:
    """Its clocks, by their numbers; ``awake`` is what ``time.monotonic`` shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.awake = 100.0
        self.asleep = 5000.0
        self.asked: set[int] = set()
        monkeypatch.setattr(time, "monotonic", lambda: self.awake)
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

    assert clock._make_clock() is time.monotonic
