"""The clocks of a worker, which nothing that runs in the process can stop.

On Linux and macOS ``time.monotonic`` does not advance while the machine sleeps. A laptop that slept
for an hour would wait for the rest of a delay, and trust a connection that died long ago. On
``monotonic`` a machine that slept looks like a process that was stopped: every deadline is late.

A library for tests (freezegun) replaces ``time.monotonic`` for all code. An event loop on a clock
that stands still never calls a timer again, and one whose clock is put back waits for decades.
"""

import asyncio
import inspect
import sys
import time
from collections.abc import Callable
from typing import Final

from ..errors import ConfigurationError


def _make_steady() -> Callable[[], float]:
    read = time.monotonic
    if not inspect.isbuiltin(read) and hasattr(time, "CLOCK_MONOTONIC"):
        number, read_number = time.CLOCK_MONOTONIC, time.clock_gettime
        return lambda: read_number(number)  # replaced before this module was imported
    # Behind a function: what replaces ``time.monotonic`` replaces every global that is it, too.
    return lambda: read()  # noqa: PLW0108


steady: Final = _make_steady()
"""``time.monotonic`` of the system, also while it is replaced."""


def _make_clock() -> Callable[[], float]:
    name = "CLOCK_MONOTONIC_RAW" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    number = getattr(time, name, None)
    if number is None:
        return steady
    read = time.clock_gettime
    try:
        ahead = read(number) - steady()
    except OSError:  # a sandbox without this clock
        return steady
    return lambda: read(number) - ahead


monotonic: Final = _make_clock()
"""Equal to ``time.monotonic()`` until the machine sleeps for the first time in this process."""


def keep_time(loop: asyncio.AbstractEventLoop) -> None:
    """Have ``loop`` read ``steady``, whatever happens to ``time.monotonic``.

    For loops of this package and of its test kit. A loop with a clock of its own, uvloop's or a
    simulated one, keeps it.
    """
    if _reads_time_monotonic(loop):
        loop.time = steady  # type: ignore[method-assign]


def check_time(loop: asyncio.AbstractEventLoop) -> None:
    """Raises ConfigurationError, naming the library, if the clock of ``loop`` was replaced."""
    now = time.monotonic
    if inspect.isbuiltin(now) or not _reads_time_monotonic(loop):
        return
    library = str(getattr(now, "__module__", None) or "other code").partition(".")[0]
    advice = "pass real_asyncio=True to freeze_time()" if library == "freezegun" else "leave it"
    raise ConfigurationError(
        f"{library} has replaced time.monotonic(), the clock of the event loop on which the worker "
        f"is started: no timer on it would be called in time. For the event loop {advice}, or use "
        "the fixtures embedded_gateway and gateway_thread, whose loops keep the clock of the system"
    )


def _reads_time_monotonic(loop: asyncio.AbstractEventLoop) -> bool:
    own = "time" in getattr(loop, "__dict__", {})
    return not own and getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
