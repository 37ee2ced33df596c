"""Announcer: passes on what the worker observes, secrets masked, without ever waiting for anyone.

On the thread that observed it: counters of this package, and waiters for a state. On the
application's event loop: the listeners. On the outlet's thread, in this order: the log, the
metrics, and the observers. None of them can break the worker or keep another from being called.

Each request causes four observations, and usually nobody reads them: the log is above DEBUG and
there is no OpenTelemetry SDK. Then they are counted and go no further. Whether somebody reads them
is asked where it may block, on the outlet's thread, and again each ``_ASK_AGAIN`` seconds, because
levels and providers change while a worker runs.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ..aio.hand_over import HandOver
from ..aio.waiters import StateWaiters, until_done
from ..core.events import ErrorOccurred, Event, HeartbeatAnswered, StateChanged
from ..core.wire.user_text import shown_error
from ..errors import ConfigurationError
from .event_listeners import Callback, EventListeners, is_async, name_of
from .logger import ConnectLogger
from .outlet import DRAIN_SECONDS, MOST_ITEMS, Call, Outlet
from .records import REQUESTS
from .redaction import Redactor

Observer = Callable[[Event], object]

_FREQUENT: Final = REQUESTS | {HeartbeatAnswered}
_ASK_AGAIN: Final = 1.0


class Recorder(Protocol):
    """Metrics: ``count`` where it happens, ``record`` where it may block."""

    def count(self, observation: Event) -> None: ...
    def record(self, observation: Event) -> None: ...
    def recording(self) -> bool:
        """Whether ``record`` has an effect."""
        ...


class Announcer:
    """``tell`` from any thread; the rest from the application's."""

    def __init__(
        self,
        logger: ConnectLogger,
        redactor: Redactor,
        on: dict[str, Callback],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigurationError when ``on`` has an unknown name or something not callable.

        ``clock`` is in seconds.
        """
        self.logger = logger
        self._outlet: Outlet[Event] = Outlet(self._deliver, lambda item: type(item) in _FREQUENT)
        self.listeners = EventListeners(on, self._failed, self._outlet.drop)
        self.waiters = StateWaiters()
        self._redactor = redactor
        self._metrics: Recorder | None = None
        self._read = True
        """Whether the log or the metrics have a use for the observations of each request."""
        self._ask_again_at = 0.0
        self._clock = clock
        self._counters: tuple[Observer, ...] = ()
        self._observers: tuple[Observer, ...] = ()
        self._to_listeners: HandOver[Event] | None = None
        self._drained: concurrent.futures.Future[None] | None = None
        self._reported = 0

    @property
    def dropped(self) -> int:
        """Observations that the log, an observer or a listener did not receive."""
        return self._outlet.dropped

    def listen_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listeners are called on ``loop`` from now on."""
        self._to_listeners = HandOver(loop, self.listeners.emit)

    def record_with(self, metrics: Recorder) -> None:
        """Have ``metrics`` count and record. It must not show ids: those are not masked for it."""
        self._metrics = metrics

    def add_counter(self, counter: Observer) -> Callable[[], None]:
        """For code of this package that never blocks: it counts what the queue drops, too.

        Called on the thread that observes. The returned function removes it.
        """
        self._counters = (*self._counters, counter)

        def remove() -> None:
            self._counters = tuple(one for one in self._counters if one is not counter)

        return remove

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """The returned function removes it. Raises ConfigurationError for an async function."""
        if not callable(observer) or is_async(observer):
            raise ConfigurationError(
                f"the observer {name_of(observer)} is not a plain function: it is called on a "
                "thread without an event loop. Pass async functions to add_event_listener()"
            )
        self._observers = (*self._observers, observer)

        def remove() -> None:
            self._observers = tuple(one for one in self._observers if one is not observer)

        return remove

    def tell(self, observation: Event) -> None:
        metrics = self._metrics
        if metrics is not None:
            try:
                metrics.count(observation)
            except Exception as error:  # noqa: BLE001 - a wrong figure, not the end of the worker
                self._failed(observation.name, metrics.count, error)
        if type(observation) in REQUESTS and self._unread(observation):
            return
        # Masked here and not when it is written: by then the token may be too old to be known.
        observation = self._redactor.observation(observation)
        for counter in self._counters:
            try:
                counter(observation)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(observation.name, counter, error)
        self._pass_on(observation)
        if isinstance(observation, StateChanged):
            # After the listeners, on whose loop one usually waits: they know of the state by then.
            self.waiters.wake(observation.state)
        self._outlet.put(observation)

    def write(self, call: Callable[[], None]) -> None:
        """Have ``call`` write something to the log, in its turn and off this thread."""
        self._outlet.put(Call(call))

    def crashed(self, error: BaseException) -> None:
        """Log the end of the worker with its traceback."""
        self.write(partial(self.logger.error, "worker_crashed", error=error))

    def close(self) -> None:
        """Nothing more will be told. Does not wait."""
        self._drained = self._outlet.close(self.logger.close)

    async def drained(self) -> None:
        """On the application's loop: give what was told before ``close`` two seconds to arrive."""
        if self._drained is None:
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await until_done(self._drained)
                await self.listeners.finished()
        except TimeoutError:
            self._outlet.patient = False
        finally:
            self.listeners.cancel()

    def _unread(self, observation: Event) -> bool:
        if self._read or self._observers or self._counters:
            return False
        if self.listeners.wants(observation.name):
            return False
        now = self._clock()
        if now < self._ask_again_at:
            return True
        self._ask_again_at = now + _ASK_AGAIN  # this one goes to the outlet, which asks
        return False

    def _pass_on(self, observation: Event) -> None:
        listeners = self._to_listeners
        if listeners is None or not self.listeners.wants(observation.name):
            return
        if listeners.waiting < MOST_ITEMS:
            listeners.put(observation)
        else:
            self._outlet.drop()

    # --- on the outlet's thread --------------------------------------------------------------

    def _deliver(self, observation: Event) -> None:
        metrics, observers = self._metrics, self._observers
        if type(observation) in REQUESTS:
            self._read = True  # also when one of these raises: both ask code of the user
            recorded = metrics is not None and metrics.recording()
            self._read = recorded or self.logger.writes_requests()
        self.logger.observe(observation)
        if metrics is not None:
            observers = (metrics.record, *observers)
        for observer in observers:
            try:
                result = observer(observation)
                if inspect.isawaitable(result):
                    with contextlib.suppress(AttributeError):
                        result.close()  # type: ignore[attr-defined]
                    raise TypeError("it returned an awaitable, which nothing awaits here")
            except BaseException as error:  # noqa: BLE001 - an observer must not break the worker
                self._failed(observation.name, observer, error)
        if self._outlet.dropped != self._reported:
            self._report_dropped()

    def _report_dropped(self) -> None:
        listeners = self._to_listeners
        if not self._outlet.has_room or (listeners and listeners.waiting > MOST_ITEMS // 2):
            return  # it does not flow yet
        count = self._outlet.dropped - self._reported
        self._reported += count
        text = (
            f"{count} records were dropped: a log handler, an observer, a listener or an exporter "
            "was blocked, or slower than the worker"
        )
        self.logger.observe(ErrorOccurred("records_dropped", text))

    def _failed(self, name: str, callback: Callback, error: BaseException) -> None:
        text = f"the listener {name_of(callback)} for {name!r} raised {shown_error(error)}"
        failure = self._redactor.observation(ErrorOccurred("listener_failed", text))
        self.write(partial(self.logger.observe, failure))
