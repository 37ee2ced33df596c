"""Announcer: tells everybody who is to hear what the worker observes, secrets masked.

In this order: the log, the observers (metrics, status page) on the connection's thread, those who
wait for a state, and the listeners on the caller's event loop. None of them can break the worker.
"""

import asyncio
from collections.abc import Callable

from .core.observations import ErrorOccurred, Observation, StateChanged
from .core.remote_text import clean
from .events import Callback, EventListeners
from .observability.logger import ConnectLogger
from .observability.redaction import Redactor
from .transport.io_thread import HandOver
from .waiting import StateWaiters

Observer = Callable[[Observation], None]


class Announcer:
    """``tell`` on the connection's thread; the rest from the caller's."""

    def __init__(self, logger: ConnectLogger, redactor: Redactor, on: dict[str, Callback]) -> None:
        """Raises ConfigurationError when ``on`` has an unknown name or something not callable."""
        self.logger = logger
        self.listeners = EventListeners(on, self._failed)
        self.waiters = StateWaiters()
        self._redactor = redactor
        self._observers: tuple[Observer, ...] = ()
        self._to_listeners: HandOver[Observation] | None = None

    def listen_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listeners are called on ``loop`` from now on."""
        self._to_listeners = HandOver(loop, self.listeners.emit)

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """The returned function removes it."""
        self._observers = (*self._observers, observer)

        def remove() -> None:
            self._observers = tuple(one for one in self._observers if one is not observer)

        return remove

    def tell(self, observation: Observation) -> None:
        observation = self._redactor.observation(observation)
        self.logger.observe(observation)
        for observer in self._observers:
            try:
                observer(observation)
            except Exception as error:  # noqa: BLE001 - an observer must not break the worker
                self._failed(observation.name, error)
        if isinstance(observation, StateChanged):
            self.waiters.wake(observation.state)
        if self._to_listeners is not None and self.listeners.wants(observation.name):
            self._to_listeners.put(observation)

    def _failed(self, name: str, error: Exception) -> None:
        text = clean(f"a listener for {name!r} raised {error!r}")
        self.logger.observe(ErrorOccurred("listener_failed", text))
