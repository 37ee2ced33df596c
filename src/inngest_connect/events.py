"""What users can observe, and the list of those who want to.

The event classes are the core's observations, re-exported; subscribers are called on the caller's
event loop, never on the I/O thread, so that nothing a subscriber does can delay a heartbeat.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .core.observations import (
    OBSERVATIONS,
    Connected,
    Disconnected,
    Draining,
    ErrorOccurred,
    HeartbeatAnswered,
    LeaseLost,
    Observation,
    Reconnecting,
    ReplyAcknowledged,
    RequestCompleted,
    RequestReceived,
    RequestStarted,
    StateChanged,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketOpened,
)
from .errors import ConfigurationError

__all__ = [
    "EVENT_NAMES",
    "Connected",
    "Disconnected",
    "Draining",
    "ErrorOccurred",
    "EventListeners",
    "HeartbeatAnswered",
    "LeaseLost",
    "Observation",
    "Reconnecting",
    "ReplyAcknowledged",
    "RequestCompleted",
    "RequestReceived",
    "RequestStarted",
    "StateChanged",
    "WebSocketClosed",
    "WebSocketFailed",
    "WebSocketOpened",
]

EVENT_NAMES = tuple(observation.name for observation in OBSERVATIONS)

Callback = Callable[[Any], object]
"""Takes the event object; what it returns is ignored."""


class EventListeners:
    """Callbacks by event name. A callback that raises is reported and keeps nobody from hearing."""

    def __init__(
        self,
        on: Mapping[str, Callback] | None = None,
        on_callback_error: Callable[[str, Exception], None] | None = None,
    ) -> None:
        """Raises ConfigurationError for an unknown event name or something not callable."""
        self._callbacks: dict[str, tuple[Callback, ...]] = {}
        self._on_callback_error = on_callback_error
        for name, callback in (on or {}).items():
            self.add(name, callback)

    def add(self, name: str, callback: Callback) -> Callable[[], None]:
        """Call ``callback`` for each event of that name; the returned function removes it."""
        check_event_name(name)
        if not callable(callback):
            raise ConfigurationError(f"the listener for {name!r} is not callable: {callback!r}")
        self._callbacks[name] = (*self._callbacks.get(name, ()), callback)
        return lambda: self.remove(name, callback)

    def remove(self, name: str, callback: Callback) -> None:
        """Forget ``callback``; one that is not there is ignored."""
        check_event_name(name)
        left = list(self._callbacks.get(name, ()))
        if callback in left:
            left.remove(callback)
        self._callbacks[name] = tuple(left)

    def wants(self, name: str) -> bool:
        """Whether anybody listens to this event."""
        return bool(self._callbacks.get(name))

    def emit(self, observation: Observation) -> None:
        for callback in self._callbacks.get(observation.name, ()):
            try:
                callback(observation)
            except Exception as error:  # noqa: BLE001 - a listener must not break the worker
                if self._on_callback_error is not None:
                    self._on_callback_error(observation.name, error)


def check_event_name(name: str) -> None:
    """Raises ConfigurationError that suggests what was probably meant."""
    if name in EVENT_NAMES:
        return
    import difflib  # only for those who misspell

    close = difflib.get_close_matches(str(name), EVENT_NAMES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(EVENT_NAMES)}"
    raise ConfigurationError(f"unknown event {name!r}; {hint}")
