"""Callbacks: which functions of a user can be subscribed, and how a log names them."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from ..core.events import EVENTS
from ..core.wire.user_text import class_name, guarded, is_a, shown_value
from ..errors import ConfigurationError

EVENT_NAMES = tuple(event.name for event in EVENTS)

Callback = Callable[[Any], object]
"""Takes the event. What an async function returns is awaited; any other result is ignored."""


def check_listener(callback: Callback, name: str) -> None:
    """Raises ConfigurationError for an unknown event or what cannot be called usefully."""
    check_event_name(name)
    if not callable(callback):
        raise ConfigurationError(
            f"the listener for {name!r} is not callable: {shown_value(callback)}"
        )
    generators = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(check(function) for check in generators for function in _functions(callback)):
        raise ConfigurationError(
            f"the listener {name_of(callback)} for {name!r} is a generator function, which "
            "does nothing when it is called; pass a plain or an async function"
        )


def check_observer(callback: Callback) -> None:
    """Raises ConfigurationError for what is not a plain function."""
    if not callable(callback) or is_async(callback):
        raise ConfigurationError(
            f"the observer {name_of(callback)} is not a plain function: it is called on a "
            "thread without an event loop. Pass async functions to add_event_listener()"
        )


def check_event_name(name: str) -> None:
    """Raises ConfigurationError that suggests what was probably meant."""
    if is_a(name, str) and name in EVENT_NAMES:
        return
    import difflib  # only for misspelled names

    close = difflib.get_close_matches(shown_value(name), EVENT_NAMES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(EVENT_NAMES)}"
    raise ConfigurationError(f"unknown event {shown_value(name)}; {hint}")


def is_same(one: object, other: object) -> bool:
    """Whether they are one callback: ``a.method`` is another object each time it is read.

    Their own ``__eq__`` is not called: two callables that compare equal can still do two things.
    """
    bound = (types.MethodType, types.BuiltinMethodType)
    return one is other or (type(one) is type(other) and type(one) in bound and one == other)


def name_of(callback: object) -> str:
    """How a log names a callback: where its function is defined."""
    callback = _unwrapped(callback)

    def name() -> str:
        named: Any = callback if hasattr(callback, "__qualname__") else type(callback)
        return f"{getattr(named, '__module__', '?')}.{named.__qualname__}"

    return guarded(name, class_name(callback))


def is_async(callback: object) -> bool:
    """Whether calling it only creates a coroutine, as far as that can be known before."""
    return any(map(inspect.iscoroutinefunction, _functions(callback)))


def _functions(callback: object) -> tuple[object, object]:
    """What a call may run: the function itself, or the method of a callable object."""
    callback = _unwrapped(callback)
    return callback, getattr(type(callback), "__call__", None)  # noqa: B004 - it is looked at


def _unwrapped(callback: Any) -> Any:
    while is_a(callback, functools.partial):
        callback = callback.func
    return callback
