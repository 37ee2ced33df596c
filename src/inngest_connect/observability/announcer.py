"""Announcer: passes a worker's events on, without secrets, and never waits for a receiver.

An event is counted on the thread that observes it. Then it reaches the subscribers (``Where``), and
on the outlet's thread the log, the metrics and the observers, in this order.

Each request causes four events, and usually nobody reads them: the log is above DEBUG and there is
no OpenTelemetry SDK. Then they are counted and go no further. Whether the log and the metrics have
a use for them is asked on the outlet's thread, because both ask code of the user, and again each
``_ASK_AGAIN`` seconds, because levels and providers change while a worker runs.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from ..aio.hand_over import HandOver
from ..aio.waiters import until_done
from ..core.events import ErrorOccurred, Event, HeartbeatAnswered, StateChanged
from ..core.wire.user_text import shown_error
from ..state_machine import ConnectionState
from .callbacks import Callback, name_of
from .event_counts import EventCounts
from .logger import ConnectLogger
from .outlet import DRAIN_SECONDS, MOST_ITEMS, Call, Outlet
from .records import REQUESTS, Record
from .redaction import Redactor
from .subscriptions import Subscriptions, Where

if TYPE_CHECKING:
    from .metrics import Metrics  # which brings OpenTelemetry

_FREQUENT: Final = REQUESTS | {HeartbeatAnswered}
_ASK_AGAIN: Final = 1.0


class Announcer:
    """``publish`` and ``write`` may be called from any thread."""

    def __init__(self, redactor: Redactor, logger: ConnectLogger) -> None:
        self._outlet: Outlet[Event] = Outlet(self._deliver, lambda item: type(item) in _FREQUENT)
        self.subscriptions = Subscriptions(self._failed, self._outlet.drop)
        self.counts = EventCounts()
        self._redactor = redactor
        self._logger = logger
        self._metrics: Metrics | None = None
        # Whether the log or the metrics have a use for the events of each request. The outlet's
        # thread writes it and any thread reads it: a stale value lasts for one question.
        self._read = True
        self._ask_again_at = 0.0
        self._to_listeners: HandOver[Event] | None = None
        self._drained: concurrent.futures.Future[None] | None = None

    @property
    def dropped(self) -> int:
        """Events that the log, an observer or a listener did not receive."""
        return self._outlet.dropped

    def use_logger(self, logger: ConnectLogger) -> None:
        """Write to ``logger`` from now on."""
        self._logger = logger

    def use_metrics(self, metrics: "Metrics") -> None:
        """Have ``metrics`` measure each event from now on."""
        self._metrics = metrics

    def listen_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listeners are called on ``loop`` from now on; events before that do not reach them."""
        receive = partial(self.subscriptions.call, Where.APPLICATION_LOOP)
        self._to_listeners = HandOver(loop, receive)

    def publish(self, event: Event) -> None:
        """Count ``event`` and pass it on."""
        # Counted first: a subscriber that reads the metrics finds the event that it received.
        try:
            self.counts.count(event)
        except Exception as error:  # noqa: BLE001 - a wrong figure, not the end of the worker
            self._failed(event.name, self.counts.count, error)
        subscriptions = self.subscriptions
        if type(event) in REQUESTS and not self._read and event.name not in subscriptions.wanted:
            now = time.monotonic()
            if now < self._ask_again_at:
                return
            # This event goes to the outlet, which asks. Without a lock two threads may send one
            # each, which does no harm.
            self._ask_again_at = now + _ASK_AGAIN
        # Masked here and not when it is written: by then the token may be too old to be known.
        event = self._redactor.event(event)
        subscriptions.call(Where.OBSERVING_THREAD, event)
        listeners = self._to_listeners
        if listeners is not None and subscriptions.wants(Where.APPLICATION_LOOP, event.name):
            # One wake-up for all that waits. If the loop is blocked the hand-over fills; if it is
            # closed, what it holds is lost with the program that owned it.
            if listeners.waiting < MOST_ITEMS:
                listeners.put(event)
            else:
                self._outlet.drop()
        if type(event) is StateChanged:
            subscriptions.call(Where.AFTER_LISTENERS, event)
        self._outlet.put(event)

    def write(self, call: Callable[[], None]) -> None:
        """Have ``call`` write to the log, in its turn, on the outlet's thread."""
        self._outlet.put(Call(call))

    def crashed(self, error: BaseException) -> None:
        """Log the end of the worker with its traceback."""

        def log() -> None:
            fields = {"exception": self._redactor.traceback(error)}
            self._logger.write(Record("error", "worker_crashed", fields))

        self.write(log)

    def close(self) -> None:
        """The worker has ended. Does not wait; what is published later is still delivered."""
        self._drained = self._outlet.close(self._logger.close)

    def ended(self) -> None:
        """Release those who wait for a state: a worker that failed published no last event."""
        closed = StateChanged(ConnectionState.CLOSING, ConnectionState.CLOSED)
        self.subscriptions.call(Where.AFTER_LISTENERS, closed)

    async def drained(self) -> None:
        """On the application's loop, after ``close``: give what was published two seconds.

        The last thing that ``start()`` waits for, and limited, because a receiver may block.
        """
        if self._drained is None:
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await until_done(self._drained)
                await self.subscriptions.finished()
        except TimeoutError:
            self._outlet.give_up()
        finally:
            self.subscriptions.cancel()

    # --- on the outlet's thread --------------------------------------------------------------

    def _deliver(self, event: Event) -> None:
        logger, metrics = self._logger, self._metrics
        if type(event) in REQUESTS:
            self._read = True  # also when one of these raises: both ask code of the user
            measured = metrics is not None and metrics.collected()
            self._read = measured or logger.writes_requests()
        logger.observe(event)
        if metrics is not None:
            try:
                metrics.measure(event)
            except BaseException as error:  # noqa: BLE001 - of the user's provider
                self._failed(event.name, metrics.measure, error)
        self.subscriptions.call(Where.OUTLET, event)
        listeners = self._to_listeners
        if listeners is None or listeners.waiting <= MOST_ITEMS // 2:
            count = self._outlet.newly_dropped()
            if count:
                text = (
                    f"{count} records were dropped: a log handler, an observer, a listener or an "
                    "exporter was blocked, or slower than the worker"
                )
                logger.observe(ErrorOccurred("records_dropped", text))

    def _failed(self, name: str, callback: Callback, error: BaseException) -> None:
        """What any subscriber raised, on any thread."""
        text = f"the listener {name_of(callback)} for {name!r} raised {shown_error(error)}"
        failure = self._redactor.event(ErrorOccurred("listener_failed", text))
        self.write(lambda: self._logger.observe(failure))
