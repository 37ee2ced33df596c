"""Subscriptions: who receives the events of a worker, and where each subscriber is called.

All subscribers are added, called and removed in the same way; they differ in ``Where``. What one
raises is passed to ``failed`` and affects neither the worker nor another subscriber.
"""

import asyncio
import concurrent.futures
import contextlib
import enum
import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ..aio.waiters import until_done
from ..core.events import Event, StateChanged
from ..errors import NotConnectedError
from ..state_machine import ConnectionState
from .callbacks import (
    EVENT_NAMES,
    Callback,
    check_event_name,
    check_listener,
    check_observer,
    is_same,
)

MOST_WAITING: Final = 1_000
"""Events that wait for an async listener to return from an earlier one."""


class Where(enum.IntEnum):
    """Where a subscriber is called. An event reaches these places in this order."""

    OBSERVING_THREAD = 0
    """The thread on which the event happens, often the one that sends heartbeats: a subscriber
    must not block. It also receives the events that the outlet drops."""
    APPLICATION_LOOP = 1
    """The event loop of ``start()``. An async function receives its events one after another."""
    AFTER_LISTENERS = 2
    """The observing thread again, for those who wait for a state, and for changes of state only:
    when one of them continues on the application's loop, the listeners there have been called."""
    OUTLET = 3
    """The thread of the log, which user code may block."""


class Subscriptions:
    """``add`` and ``remove`` may be called from any thread, ``call`` where ``where`` says.

    A subscriber that is removed while an event is on its way to it is not called any more.
    """

    def __init__(
        self,
        failed: Callable[[str, Callback, BaseException], None],
        dropped: Callable[[], None],
    ) -> None:
        """``dropped`` is called for each event that an async listener is too slow to receive."""
        self.wanted: frozenset[str] = frozenset()
        """The names of the events that anyone has subscribed to."""
        self.failed = failed
        self.dropped = dropped
        # For writers; ``call`` takes the present tuple. Reentrant: at any allocation the garbage
        # collector may close a forgotten ``wait_for_state``, which removes its subscriber.
        self._lock = threading.RLock()
        self._subscribers: tuple[dict[str, tuple[_Subscriber, ...]], ...]
        self._subscribers = tuple({} for _ in Where)

    def add(self, where: Where, callback: Callback, name: str | None = None) -> Callable[[], None]:
        """Call ``callback`` for each event of that name, or of any name.

        The returned function removes it. Raises ConfigurationError for an unknown name, and for
        what cannot be called there.
        """
        if where is Where.OUTLET:
            check_observer(callback)
        if name is not None:
            check_listener(callback, name)
        with self._lock:
            known = self._subscribers[where]
            # One subscriber for all names of a callback, which so receives them in order.
            for subscriber in self._all(where):
                if is_same(subscriber.callback, callback):
                    break
            else:
                create = _Listener if where is Where.APPLICATION_LOOP else _Subscriber
                subscriber = create(callback, self)
            for each in (name,) if name is not None else EVENT_NAMES:
                known[each] = (*known.get(each, ()), subscriber)
            self._update_wanted()
        return lambda: self.remove(where, callback, name)

    def remove(self, where: Where, callback: Callback, name: str | None = None) -> None:
        """Undo one ``add``; a callback that is not subscribed is ignored."""
        if name is not None:
            check_event_name(name)
        with self._lock:
            known = self._subscribers[where]
            for each in (name,) if name is not None else EVENT_NAMES:
                left = list(known.get(each, ()))
                for subscriber in left:
                    if is_same(subscriber.callback, callback):
                        left.remove(subscriber)
                        break
                known[each] = tuple(left)
            self._update_wanted()

    def wants(self, where: Where, name: str) -> bool:
        """Whether ``call`` would call anyone."""
        return bool(self._subscribers[where].get(name))

    def call(self, where: Where, event: Event) -> None:
        """Pass ``event`` to the subscribers of its name, in the order in which they were added."""
        for subscriber in self._subscribers[where].get(event.name, ()):
            subscriber.receive(event)

    async def wait_for_state(
        self, wanted: ConnectionState, state: Callable[[], ConnectionState]
    ) -> None:
        """Return when the state is, or was for a moment, ``wanted``; from any event loop.

        Raises NotConnectedError when the connection closes first.
        """
        reached: concurrent.futures.Future[ConnectionState] = concurrent.futures.Future()

        def receive(change: StateChanged) -> None:
            ends = change.state is wanted or change.state is ConnectionState.CLOSED
            if ends and not reached.done():
                reached.set_result(change.state)

        # Subscribed before the state is read: a change between the two is not missed.
        remove = self.add(Where.AFTER_LISTENERS, receive, StateChanged.name)
        try:
            now = state()
            if now is not wanted and now is not ConnectionState.CLOSED:
                await until_done(reached)
                now = reached.result()
        finally:
            remove()
        if now is not wanted:
            raise NotConnectedError(f"the connection closed before it was {wanted.value}")

    async def finished(self) -> None:
        """Wait until every async listener has returned; on the application's loop."""
        while tasks := [one.task for one in self._listeners() if one.task is not None]:
            await asyncio.wait(tasks)

    def cancel(self) -> None:
        """Cancel the async listeners that still run; on the application's loop."""
        for listener in self._listeners():
            listener.waiting.clear()
            if listener.task is not None:
                listener.task.cancel()

    def _listeners(self) -> "list[_Listener]":
        return [one for one in self._all(Where.APPLICATION_LOOP) if isinstance(one, _Listener)]

    def _all(self, where: Where) -> "list[_Subscriber]":
        return [subscriber for some in self._subscribers[where].values() for subscriber in some]

    def _update_wanted(self) -> None:
        self.wanted = frozenset(
            name for known in self._subscribers for name, some in known.items() if some
        )


class _Subscriber:
    """One callback, for any number of names."""

    def __init__(self, callback: Callback, owner: Subscriptions) -> None:
        self.callback = callback
        self._owner = owner

    def receive(self, event: Event) -> None:
        """Call it. What it raises is reported."""
        try:
            result = self.callback(event)
            if result is not None:
                self._returned(result, event)
        except BaseException as error:  # noqa: BLE001 - a subscriber must not break the worker
            self._owner.failed(event.name, self.callback, error)

    def _returned(self, result: object, event: Event) -> None:
        if inspect.isawaitable(result):
            with contextlib.suppress(AttributeError):
                result.close()  # type: ignore[attr-defined]
            raise TypeError("it returned an awaitable, which nothing awaits here")
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError("it returned a generator, which does nothing")


class _Listener(_Subscriber):
    """One on the application's loop, and only there. ``task`` runs what an async one returned."""

    def __init__(self, callback: Callback, owner: Subscriptions) -> None:
        super().__init__(callback, owner)
        self.task: asyncio.Task[None] | None = None
        self.waiting: deque[Event] = deque()

    def receive(self, event: Event) -> None:
        if self.task is None:
            super().receive(event)
        elif len(self.waiting) < MOST_WAITING:
            self.waiting.append(event)
        else:
            self._owner.dropped()

    def _returned(self, result: object, event: Event) -> None:
        if not inspect.isawaitable(result):
            super()._returned(result, event)
            return
        self.task = asyncio.get_running_loop().create_task(self._run(event, result))
        # Not at the end of the coroutine: one that is cancelled before its first step never runs.
        self.task.add_done_callback(self._ended)

    async def _run(self, event: Event, result: Awaitable[object]) -> None:
        try:
            await result
        except BaseException as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._owner.failed(event.name, self.callback, error)

    def _ended(self, _: "asyncio.Task[None]") -> None:
        # What arrives between the end of the task and this call waits, so the order is kept.
        self.task = None
        while self.waiting and self.task is None:
            super().receive(self.waiting.popleft())
