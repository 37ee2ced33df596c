"""HandOver: passes items from any thread to one event loop, in order and in batches.

It is the only way data crosses threads in this package. Producers append to a deque and schedule
one ``drain`` on the receiving loop; the drain receives everything that waits. A burst of messages
therefore costs one wake-up, which matters: ``call_soon_threadsafe`` writes to the self-pipe of the
loop and gives the interpreter lock away, and it can take milliseconds to get it back.

Why no item is lost and no lock is needed:
1. A producer appends first and reads ``_wake_up_planned`` afterwards. ``drain`` clears the flag
   first and counts the items afterwards.
2. A producer that finds the flag set has appended before a drain that is still to come clears it,
   so that drain counts the item. A producer that finds it cleared plans another drain.
3. Two producers can both find it cleared, and a drain can be called that nobody planned. The drain
   that comes second finds fewer items, or none. That is harmless.
4. ``deque.append``, ``deque.popleft`` and the access to the flag are atomic. A signal handler that
   calls ``put`` in the middle of another ``put``, or of ``drain``, on the same thread is one more
   producer.

When an item is put:
- before the loop runs, it is received in the first turn of the loop;
- while a drain runs, it is received by the next drain, so a producer that is faster than the
  receiver cannot keep the loop from its other work;
- twice, it is received twice: nothing here looks at items;
- after the loop is closed, it is never received, and ``on_closed`` is called, once.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class HandOver(Generic[Item]):
    """Calls ``receive`` on ``loop`` with each item. ``drain`` belongs to ``loop``, the rest to all.

    ``after`` is called on ``loop`` at the end of each batch. ``on_closed`` is called on the thread
    of the first producer that finds the loop closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[Item], None],
        on_closed: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._receive = receive
        self._on_closed = on_closed
        self._after = after
        self._items: deque[Item] = deque()
        self._wake_up_planned = False

    @property
    def waiting(self) -> int:
        """Items that were put and not received yet."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Have ``item`` received soon."""
        self._items.append(item)
        self.wake()

    def add(self, item: Item) -> None:
        """Have ``item`` received with the next drain; the producer calls ``wake`` after a batch."""
        self._items.append(item)

    def wake(self) -> None:
        """Plan a drain, unless one is planned or nothing waits."""
        if self._wake_up_planned or not self._items:
            return
        try:
            # Before the drain is scheduled: set afterwards, it could overwrite what a drain on
            # another thread has cleared already, and no producer would wake the loop again.
            self._wake_up_planned = True
            if asyncio._get_running_loop() is self._loop:
                self._loop.call_soon(self.drain)
            else:
                self._loop.call_soon_threadsafe(self.drain)
        except RuntimeError:
            # The loop is closed. The flag stays set, so that the next producers return early.
            if self._on_closed is not None:
                self._on_closed()
        except BaseException:
            # A signal handler of the program raised in the middle of this, on the main thread.
            # Whether the drain was scheduled is unknown; the next producer schedules one more.
            self._wake_up_planned = False
            raise

    def drain(self) -> None:
        """Receive what waits now. The receiving loop may call it at any time."""
        self._wake_up_planned = False
        items = self._items
        for _ in range(len(items)):
            self._receive(items.popleft())
        if self._after is not None:
            self._after()
