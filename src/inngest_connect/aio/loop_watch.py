"""LoopWatch: measures from outside how late an event loop is.

A loop that runs ticks. One that is blocked does not, and how late its tick is can be read from any
thread: a blocked loop is visible while it is blocked, not only afterwards.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from .clock import steady

TICK_SECONDS: Final = 0.25


class LoopWatch:
    """Call ``start`` and ``stop`` on the loop itself, ``lag`` on any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.on_tick: Callable[[float], None] | None = None
        """Called on the loop at each tick, with how late it is."""
        self._loop = loop
        self._due_at: float | None = None
        self._last_lag = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick."""
        self._due_at = steady() + TICK_SECONDS
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Stop to tick; the lag is 0 from now on."""
        self._due_at = None
        self._last_lag = 0.0
        if self._timer is not None:
            self._timer.cancel()

    def lag(self) -> float:
        """Seconds that the loop is late: now if it is overdue, else at its last tick."""
        due_at = self._due_at
        if due_at is None:
            return 0.0
        return max(steady() - due_at, self._last_lag)

    def loop_runs(self) -> bool:
        """False when something has stopped it, or runs another loop instead."""
        return self._loop.is_running()

    def _tick(self) -> None:
        if self._due_at is not None:
            self._last_lag = max(steady() - self._due_at, 0.0)
            self.start()
            if self.on_tick is not None:
                self.on_tick(self._last_lag)
