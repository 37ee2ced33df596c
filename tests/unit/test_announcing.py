"""What the announcer passes on of requests, and that it asks again whether somebody reads it."""

import logging
import threading
from collections.abc import Callable

import pytest

from inngest_connect.announcing import Announcer
from inngest_connect.core.observations import LeaseLost, Observation, RequestReceived
from inngest_connect.observability.logger import ConnectLogger
from inngest_connect.observability.redaction import Redactor

from .observability.log_capture import Capture

pytestmark = pytest.mark.unit


class Recorder:
    """Metrics that note what they are given, with or without a provider behind them."""

    def __init__(self) -> None:
        self.counted = 0
        self.recorded = 0
        self.has_provider = False

    def count(self, observation: Observation) -> None:
        self.counted += 1

    def record(self, observation: Observation) -> None:
        self.recorded += 1

    def recording(self) -> bool:
        return self.has_provider


class Setting:
    """An announcer whose log is at ``level``, with a clock that only the test moves."""

    def __init__(self, level: int = logging.INFO) -> None:
        self.now = 1000.0
        # One of the tree: the level of any other logger stays as it was when it was first asked.
        self.log, self.capture = logging.getLogger("test_announcing"), Capture()
        self.log.propagate = False
        self.log.handlers = [self.capture]
        self.log.setLevel(level)
        self.metrics = Recorder()
        self.announcer = Announcer(ConnectLogger(self.log), Redactor(), {}, lambda: self.now)
        self.announcer.record_with(self.metrics)

    def tell(self, count: int, make: Callable[[str], Observation] | None = None) -> None:
        """Tell of so many requests, and wait until all that was passed on has arrived."""
        for n in range(count):
            request_id = f"r{n}"
            seen = RequestReceived(request_id, "run", "app", "app-f", "c")
            self.announcer.tell(make(request_id) if make is not None else seen)
        arrived = threading.Event()
        self.announcer.write(arrived.set)
        assert arrived.wait(30)

    def changed(self) -> None:
        """A second passes, and one more request finds out what was changed."""
        self.now += 1.0
        self.tell(1)
        self.metrics.recorded = 0
        self.capture.records.clear()


def test_requests_that_nobody_reads_are_counted_and_go_no_further() -> None:
    setting = Setting()
    setting.tell(1)

    setting.tell(500)

    assert setting.metrics.counted == 501
    assert setting.metrics.recorded <= 2  # those that were passed on to ask
    assert setting.capture.records == []


def test_each_request_is_logged_within_a_second_after_the_level_was_lowered() -> None:
    setting = Setting()
    setting.tell(10)
    setting.changed()  # which has asked once, in vain
    setting.log.setLevel(logging.DEBUG)

    setting.changed()
    setting.tell(50)

    assert setting.capture.sequence == [("DEBUG", "request_received")] * 50


def test_requests_are_passed_on_no_longer_once_the_level_is_raised_again() -> None:
    setting = Setting(logging.DEBUG)
    setting.tell(10)
    setting.log.setLevel(logging.INFO)

    setting.changed()
    setting.tell(500)

    assert setting.metrics.recorded <= 2


def test_durations_are_recorded_within_a_second_after_a_provider_was_set() -> None:
    setting = Setting()
    setting.tell(10)
    setting.changed()
    setting.metrics.has_provider = True

    setting.changed()
    setting.tell(50)

    assert setting.metrics.recorded == 50


def test_an_observer_receives_the_first_request_after_it_was_added() -> None:
    setting = Setting()
    setting.tell(10)
    seen: list[Observation] = []
    setting.announcer.add_observer(seen.append)

    setting.tell(3)

    assert [type(one) for one in seen] == [RequestReceived] * 3


def test_a_counter_receives_the_first_request_after_it_was_added() -> None:
    setting = Setting()
    setting.tell(10)
    seen: list[Observation] = []
    setting.announcer.add_counter(seen.append)

    setting.tell(3)

    assert [type(one) for one in seen] == [RequestReceived] * 3


def test_a_listener_of_requests_makes_no_difference_to_what_is_asked() -> None:
    setting = Setting()
    setting.tell(10)
    setting.announcer.listeners.add("request_received", lambda _: None)

    setting.tell(3)

    assert setting.metrics.counted == 13
    assert setting.metrics.recorded >= 3


def test_what_is_not_of_each_request_is_always_passed_on() -> None:
    setting = Setting()
    setting.tell(10)
    setting.metrics.recorded = 0

    setting.tell(3, lambda request_id: LeaseLost(request_id, "run", "app-f"))

    assert setting.metrics.recorded == 3
    assert setting.capture.sequence[0] == ("WARNING", "lease_lost")


def test_a_logger_that_cannot_say_its_level_keeps_receiving() -> None:
    class Broken(logging.Logger):
        def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name of logging
            raise RuntimeError("no level")

    setting = Setting()
    setting.announcer.logger = ConnectLogger(Broken("broken"))
    setting.metrics.has_provider = True

    setting.tell(5)

    assert setting.metrics.counted == 5
