"""EventListeners: subscribing to events by their names, typed so that checkers know each event.

A wrong name, or a callback for another event, is an error for type checkers. There is one overload
for each class of ``core/events.py``, which a test compares.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

from ..core import events
from .announcer import Announcer
from .callbacks import Callback
from .subscriptions import Where

E = TypeVar("E", bound=events.Event)
Listener = Callable[[E], object]
Remove = Callable[[], None]
EventName = Literal[
    "state_change",
    "connected",
    "disconnected",
    "heartbeat",
    "draining",
    "reconnecting",
    "request_received",
    "request_started",
    "function_failed",
    "request_completed",
    "reply_acknowledged",
    "lease_lost",
    "recovered",
    "websocket_open",
    "websocket_close",
    "websocket_error",
    "error",
]


class EventListeners:
    """What a worker has for its users' callbacks."""

    _announcer: Announcer

    @overload
    def add_event_listener(
        self, name: Literal["state_change"], callback: Listener[events.StateChanged]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["connected"], callback: Listener[events.Connected]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["disconnected"], callback: Listener[events.Disconnected]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["heartbeat"], callback: Listener[events.HeartbeatAnswered]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["draining"], callback: Listener[events.Draining]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["reconnecting"], callback: Listener[events.Reconnecting]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["request_received"], callback: Listener[events.RequestReceived]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["request_started"], callback: Listener[events.RequestStarted]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["function_failed"], callback: Listener[events.FunctionFailed]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["request_completed"], callback: Listener[events.RequestCompleted]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["reply_acknowledged"], callback: Listener[events.ReplyAcknowledged]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["lease_lost"], callback: Listener[events.LeaseLost]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["recovered"], callback: Listener[events.Recovered]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["websocket_open"], callback: Listener[events.WebSocketOpened]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["websocket_close"], callback: Listener[events.WebSocketClosed]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["websocket_error"], callback: Listener[events.WebSocketFailed]
    ) -> Remove: ...
    @overload
    def add_event_listener(
        self, name: Literal["error"], callback: Listener[events.ErrorOccurred]
    ) -> Remove: ...

    def add_event_listener(self, name: EventName, callback: Callable[[Any], object]) -> Remove:
        """Call ``callback`` with each event of that name, on the event loop of ``start()``.

        It may be an async function, which gets the next event when it has returned. Returns a
        function that removes it. Raises ConfigurationError for an unknown name.
        """
        return self._announcer.subscriptions.add(Where.APPLICATION_LOOP, callback, name)

    def remove_event_listener(self, name: EventName, callback: Callback) -> None:
        """Remove a callback; one that is not subscribed is ignored."""
        self._announcer.subscriptions.remove(Where.APPLICATION_LOOP, callback, name)
