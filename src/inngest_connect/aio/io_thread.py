"""The dedicated event loop that user code cannot block, and the hand-over between two loops.

``HandOver`` is the only thing that crosses threads: items are put into a deque and the other loop
is woken once for all that is waiting, so a burst of messages costs one wake-up.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from ..errors import WorkerCrashed
from .fork_guard import point_at_null

Item = TypeVar("Item")

_CLEANUP_SECONDS: Final = 1.0


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

    ``on_end`` is called on that thread when the coroutine has ended and the loop is closed, with
    the coroutine's exception or None. Nothing on the way there waits for a thread or a task that
    may never end: a resolver that hangs keeps its own thread, and this one ends without it.
    """

    def __init__(self, name: str, on_end: Callable[[BaseException | None], None]) -> None:
        self._on_end = on_end
        self._thread: threading.Thread | None = None
        self._name = name
        self.loop = asyncio.new_event_loop()

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Raises WorkerCrashed when the process may not have another thread."""
        self._thread = threading.Thread(
            target=self._run, args=(main,), name=self._name, daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            main.close()
            self.loop.close()
            raise WorkerCrashed(
                f"the thread of the connection cannot be started: {error}. The process or its "
                "container is at its limit of threads: raise it (ulimit -u, pids.max), or run fewer"
            ) from error

    def _run(self, main: Coroutine[Any, Any, None]) -> None:
        error: BaseException | None = None
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(main)
        except BaseException as caught:  # noqa: BLE001 - start() has to hear of every end
            error = caught
        try:
            self._close_loop()
        except Exception as caught:  # noqa: BLE001 - as above
            error = error or caught
        finally:
            asyncio.set_event_loop(None)
            self._on_end(error)

    def _close_loop(self) -> None:
        """Unlike ``asyncio.run``, without waiting for the threads of the loop's executor."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=_CLEANUP_SECONDS))
        self.loop.close()

    def abandon_descriptors(self) -> None:
        """In a forked child: leave the sockets of the loop, and its selector, to the parent."""
        selector = getattr(self.loop, "_selector", None)
        if selector is None or selector.get_map() is None:
            return
        point_at_null([*(key.fd for key in selector.get_map().values()), selector.fileno()])

    def join(self) -> None:
        """Call after ``on_end``: it is the last thing that the thread does."""
        if self._thread is not None:
            self._thread.join(_CLEANUP_SECONDS)
