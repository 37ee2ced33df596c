"""Outlet: the bounded queue by which events leave the I/O thread, and the thread that empties it.

Log handlers, observers and exporters are user code and may block indefinitely: a standard error
that nobody reads is enough. They run on a daemon thread that nothing on the way to CLOSED waits for
longer than ``DRAIN_SECONDS``. When that thread is blocked the queue fills, and what does not fit is
dropped and counted.
"""

import atexit
import concurrent.futures
import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from .blocked_exit import release

Item = TypeVar("Item")

MOST_ITEMS: Final = 10_000
RESERVED: Final = 2_000
"""Places that frequent items (of each request, of each heartbeat) do not get: the records of an
outage are worth more than the ten-thousandth record of a request."""
DRAIN_SECONDS: Final = 2.0
_GATHER_SECONDS: Final = 0.01
"""Each wake-up of this thread takes the interpreter lock from the I/O thread, so what comes within
this time shares one."""


@dataclass(frozen=True, slots=True)
class Call:
    """An item that is called on the outlet's thread, in its turn, instead of being received."""

    call: Callable[[], object]


class Outlet(Generic[Item]):
    """``receive`` is called with each item, in order, on the outlet's own thread."""

    def __init__(
        self, receive: Callable[[Item], None], is_frequent: Callable[[Any], bool] = lambda _: False
    ) -> None:
        self._receive = receive
        self._is_frequent = is_frequent
        self._queue: SimpleQueue[Item | Call] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self.abandoned = False
        """Whether nothing is received any more: it was blocked when the interpreter exited."""
        self._patient = True
        self.dropped = 0
        """Items that did not fit, since the construction."""
        self._dropped_before = 0

    def put(self, item: "Item | Call") -> None:
        """From any thread; never blocks and never raises."""
        # Other threads may put between this look and ``put``: a few items more than the limit.
        waiting = self._queue.qsize()
        if waiting >= MOST_ITEMS - RESERVED and (waiting >= MOST_ITEMS or self._is_frequent(item)):
            self.drop()
            return
        self._queue.put(item)
        if self._thread is None:
            self._start()

    def drop(self) -> None:
        """Count an item that ``receive`` could not pass on."""
        with self._lock:
            self.dropped += 1

    def newly_dropped(self) -> int:
        """How many items were dropped since the last answer; 0 until the queue is half empty.

        Called by ``receive``. An answer before that would be one of many.
        """
        count = self.dropped - self._dropped_before
        if count == 0 or self._queue.qsize() >= MOST_ITEMS // 2:
            return 0
        self._dropped_before += count
        return count

    def close(self, last: Callable[[], None] | None = None) -> "concurrent.futures.Future[None]":
        """The returned future is done after all that was put was received, and ``last`` called.

        What is put later is still received, on a thread that ends when the queue is empty.
        """
        drained: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._closing = True
        if self._thread is None and self._queue.empty():
            drained.set_result(None)
            return drained
        if last is not None:
            self._queue.put(Call(last))
        self._queue.put(Call(partial(drained.set_result, None)))
        if self._thread is None:
            self._start()
        return drained

    def give_up(self) -> None:
        """Do not wait for it at the exit of the interpreter: that it is blocked is known."""
        self._patient = False

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            name = "inngest-connect-observers"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            # A process that cannot create a thread now keeps what was put, and tries again.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
                _started.add(self)

    def _serve(self) -> None:
        while True:
            try:
                item = self._queue.get(block=not self._closing)
            except Empty:
                with self._lock:
                    # An item that was put before is found here. A later ``put`` sees that there is
                    # no thread, and waits for the lock to start one.
                    self._thread = None
                    if self._queue.empty():
                        return
                    self._thread = threading.current_thread()
                continue
            if not self._closing and self._is_frequent(item):
                time.sleep(_GATHER_SECONDS)
            # All that waits is taken after one pause, not each item after its own.
            with contextlib.suppress(Empty):
                while True:
                    self._take(item)
                    item = self._queue.get_nowait()

    def _take(self, item: Any) -> None:
        if self.abandoned:
            return
        try:
            if isinstance(item, Call):
                item.call()
            else:
                self._receive(item)
        except BaseException:  # noqa: BLE001, S110 - of user code; the next item is served anyway
            pass

    def end(self, deadline: float) -> threading.Thread | None:
        """At the exit of the interpreter: returns the thread if it is blocked."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return None
        if self._patient:
            drained = self.close()
            with contextlib.suppress(TimeoutError):
                drained.result(max(deadline - time.monotonic(), 0))
                return None
        self.abandoned = True
        return thread


_started: "weakref.WeakSet[Outlet[Any]]" = weakref.WeakSet()


def _at_exit() -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    blocked = [thread for outlet in tuple(_started) if (thread := outlet.end(deadline))]
    if blocked:
        release(blocked)


# Hooks run in reverse order: after those of the program, before that of ``logging``.
atexit.register(_at_exit)
