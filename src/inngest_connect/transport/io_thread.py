"""The dedicated event loop that user code cannot block, and the hand-over between two loops.

``HandOver`` is the only thing that crosses threads: items are put into a deque and the other loop
is woken once for all that is waiting, so a burst of messages costs one wake-up.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from .resolver import getaddrinfo

Item = TypeVar("Item")


class HandOver(Generic[Item]):
    """Passes items, in order, to ``receive`` on ``loop``. ``put`` may be called from any thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[Item], None],
        on_gone: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        """``after`` is called on ``loop`` each time that all which waited was received."""
        self._loop = loop
        self._receive = receive
        self._on_gone = on_gone
        self._after = after
        self._items: deque[Item] = deque()
        self._woken = False

    @property
    def waiting(self) -> int:
        """Items that were put and not received yet."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Never raises; when the other loop is closed, ``on_gone`` is called instead."""
        self._items.append(item)
        self.wake()

    def add(self, item: Item) -> None:
        """Like ``put``, but the other loop need not hear of it before ``wake`` is called.

        Waking gives the interpreter lock away, and it can take milliseconds to get it back.
        """
        self._items.append(item)

    def wake(self) -> None:
        """Have what waits received, if anything does."""
        if self._woken or not self._items:
            return
        self._woken = True
        try:
            if asyncio._get_running_loop() is self._loop:
                self._loop.call_soon(self.drain)
            else:
                self._loop.call_soon_threadsafe(self.drain)
        except RuntimeError:
            # The loop is closed. What was put is lost with the program that owned it.
            if self._on_gone is not None:
                self._on_gone()

    def drain(self) -> None:
        """Receive what waits; on ``loop`` only."""
        # Reset first: an item put from now on wakes the loop again rather than being overlooked.
        self._woken = False
        items = self._items
        for _ in range(len(items)):
            self._receive(items.popleft())
        if self._after is not None:
            self._after()


class IoThread:
    """A thread with an event loop of its own, for exactly one coroutine.

    ``on_end`` is called on that thread, at its very end, with the coroutine's exception or None.
    """

    def __init__(self, name: str, on_end: Callable[[BaseException | None], None]) -> None:
        self._on_end = on_end
        self._thread: threading.Thread | None = None
        self._name = name
        self.loop = asyncio.new_event_loop()
        # The HTTP client and SOCKS resolve names through the loop, whose own way is a pool that is
        # joined at its end: a resolver that hangs would hold back ``close()`` and the interpreter.
        setattr(self.loop, "getaddrinfo", getaddrinfo)  # noqa: B010 - a method, for mypy

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(main,), name=self._name, daemon=True
        )
        self._thread.start()

    def _run(self, main: Coroutine[Any, Any, None]) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(main)
        except BaseException as caught:  # noqa: BLE001 - start() has to hear of every end
            error = caught
        self._on_end(error)

    def join(self, timeout: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)
