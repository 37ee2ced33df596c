"""EventListeners: the functions that a user has subscribed to events.

They are called on the application's event loop, never on the I/O thread, so that nothing a listener
does can delay a heartbeat.
"""

import asyncio
import functools
import inspect
import types
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ..core.events import EVENTS, Event
from ..core.wire.user_text import class_name, guarded, is_a, shown_value
from ..errors import ConfigurationError

EVENT_NAMES = tuple(observation.name for observation in EVENTS)

Callback = Callable[[Any], object]
"""Takes the event object. Of an async function the coroutine is run; else the result is ignored."""

MOST_WAITING: Final = 1_000
"""Events that wait for an async listener to return from an earlier one."""


class EventListeners:
    """Callbacks by event name. One that raises is reported and keeps no other from being called.

    ``emit`` belongs to the application's event loop. An async listener gets its events one after
    another, each when it has returned from the one before, so that it sees them in order.
    """

    def __init__(
        self,
        on: Mapping[str, Callback] | None = None,
        on_callback_error: Callable[[str, Callback, BaseException], None] | None = None,
        on_dropped: Callable[[], None] | None = None,
    ) -> None:
        """Raises ConfigurationError for an unknown event name or something not callable."""
        self._listeners: dict[str, tuple[_Listener, ...]] = {}
        self._failed = on_callback_error or (lambda name, callback, error: None)
        self._dropped = on_dropped or (lambda: None)
        for name, callback in (on or {}).items():
            self.add(name, callback)

    def add(self, name: str, callback: Callback) -> Callable[[], None]:
        """Call ``callback`` for each event of that name; the returned function removes it."""
        check_event_name(name)
        if not callable(callback):
            raise ConfigurationError(
                f"the listener for {name!r} is not callable: {shown_value(callback)}"
            )
        if _is_generator(callback):
            raise ConfigurationError(
                f"the listener {name_of(callback)} for {name!r} is a generator function, which "
                "does nothing when it is called; pass a plain or an async function"
            )
        # One of all names: what it is called with stays in order across them.
        known = [one for one in self._all() if _same(one.callback, callback)]
        listener = known[0] if known else _Listener(callback, self._failed, self._dropped)
        self._listeners[name] = (*self._listeners.get(name, ()), listener)
        return lambda: self.remove(name, callback)

    def remove(self, name: str, callback: Callback) -> None:
        """Forget ``callback``; one that is not there is ignored."""
        check_event_name(name)
        left = list(self._listeners.get(name, ()))
        for listener in left:
            if _same(listener.callback, callback):
                left.remove(listener)
                break
        self._listeners[name] = tuple(left)

    def wants(self, name: str) -> bool:
        """Whether anybody listens to this event."""
        return bool(self._listeners.get(name))

    def emit(self, observation: Event) -> None:
        for listener in self._listeners.get(observation.name, ()):
            listener.call(observation)

    async def finished(self) -> None:
        """Wait until every async listener has returned."""
        while tasks := [one.task for one in self._all() if one.task is not None]:
            await asyncio.wait(tasks)

    def cancel(self) -> None:
        """Cancel the async listeners that still run."""
        for listener in self._all():
            listener.waiting.clear()
            if listener.task is not None:
                listener.task.cancel()

    def _all(self) -> "list[_Listener]":
        return [listener for some in self._listeners.values() for listener in some]


class _Listener:
    """One callback. ``task`` runs what an async one returned, and then what waits."""

    def __init__(
        self,
        callback: Callback,
        failed: Callable[[str, Callback, BaseException], None],
        dropped: Callable[[], None],
    ) -> None:
        self.callback = callback
        self.waiting: deque[Event] = deque()
        self.task: asyncio.Task[None] | None = None
        self._failed = failed
        self._dropped = dropped

    def call(self, observation: Event) -> None:
        if self.task is not None:
            if len(self.waiting) < MOST_WAITING:
                self.waiting.append(observation)
            else:
                self._dropped()
            return
        result = self._called(observation)
        if result is not None:
            task = asyncio.get_running_loop().create_task(self._run(observation, result))
            self.task = task
            # Not in the coroutine: a task that is cancelled before its first step never runs it.
            task.add_done_callback(self._ended)

    def _called(self, observation: Event) -> Awaitable[object] | None:
        """Call it; returns what has to be awaited."""
        try:
            result = self.callback(observation)
            if inspect.isawaitable(result):
                return result
            if inspect.isgenerator(result) or inspect.isasyncgen(result):
                raise TypeError("it returned a generator, which does nothing")
        except BaseException as error:  # noqa: BLE001 - a listener must not break the worker
            self._failed(observation.name, self.callback, error)
        return None

    async def _run(self, observation: Event, result: Awaitable[object]) -> None:
        following: Awaitable[object] | None = result
        while True:
            if following is not None:
                try:
                    await following
                except BaseException as error:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    self._failed(observation.name, self.callback, error)
            if not self.waiting:
                return
            observation = self.waiting.popleft()
            following = self._called(observation)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.task = None


def _same(one: object, other: object) -> bool:
    """Whether they are one callback: ``a.method`` is another object each time it is read.

    Their own ``__eq__`` is not asked: two callables that compare equal can still do two things.
    """
    bound = (types.MethodType, types.BuiltinMethodType)
    return one is other or (type(one) is type(other) and type(one) in bound and one == other)


def _unwrapped(callback: Any) -> Any:
    while is_a(callback, functools.partial):
        callback = callback.func
    return callback


def name_of(callback: object) -> str:
    """How a log names a callback: where its function is defined."""
    callback = _unwrapped(callback)

    def name() -> str:
        named: Any = callback if hasattr(callback, "__qualname__") else type(callback)
        return f"{getattr(named, '__module__', '?')}.{named.__qualname__}"

    return guarded(name, class_name(callback))


def is_async(callback: object) -> bool:
    """Whether calling it only makes a coroutine, as far as that can be known before."""
    callback = _unwrapped(callback)
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(type(callback), "__call__", None)  # noqa: B004 - the method is looked at
    )


def _is_generator(callback: object) -> bool:
    callback = _unwrapped(callback)
    method = getattr(type(callback), "__call__", None)  # noqa: B004 - the method is looked at
    return any(
        inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one)
        for one in (callback, method)
    )


def check_event_name(name: str) -> None:
    """Raises ConfigurationError that suggests what was probably meant."""
    if is_a(name, str) and name in EVENT_NAMES:
        return
    import difflib  # only for those who misspell

    close = difflib.get_close_matches(shown_value(name), EVENT_NAMES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(EVENT_NAMES)}"
    raise ConfigurationError(f"unknown event {shown_value(name)}; {hint}")
