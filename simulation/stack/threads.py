"""Threads in virtual time: one runs at a time, and the seed decides which one continues.

Each thread is a greenlet, so that the code of the worker which starts, blocks and joins threads is
the real one. A thread runs until it calls ``Machine.block`` with what it waits for. Event loops do
that between two handles (``VirtualLoop``), so handles of different threads interleave.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any, Final, Protocol

from greenlet import GreenletExit, getcurrent, greenlet

FOREVER: Final = float("inf")
_PREEMPTED: Final = 0.1
_LONGEST_PREEMPTION: Final = 0.002
"""Seconds until a thread has the interpreter lock again."""
_LONGEST_END: Final = 0.1
_swap_current_task: Any = getattr(asyncio.tasks, "_swap_current_task", None)


class Wait(Protocol):
    """What a blocked thread waits for. Times are virtual seconds."""

    def due(self) -> float:
        """When the thread may continue: 0.0 for now, FOREVER while only another thread can help."""
        ...


class Machine:
    """The threads of one worker's process, and their clock."""

    def __init__(
        self,
        draw: random.Random,
        clock: Callable[[], float],
        goes_on: Callable[[], bool],
        violated: Callable[[str], None],
    ) -> None:
        """``clock`` returns virtual seconds.

        ``goes_on`` returns whether nothing outside of the process happens before the running thread
        continues: then there is nothing to switch to if no other thread can continue either.
        ``violated`` is called for a mistake that real threads would make visible only by chance.
        """
        self.draw = draw
        self.monotonic = clock
        self._goes_on = goes_on
        self.violated = violated
        self.threads: list[Thread] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.started = 0
        self.most_threads = 1_000
        self.running: Thread | None = None
        self._dead = False
        self._hub = getcurrent()

    # --- for the simulation --------------------------------------------------------------------

    def poll(self, now: float) -> "tuple[list[Thread], float]":
        """Return the threads that may continue, and when the next of the others may."""
        ready, first = [], FOREVER
        for thread in self.threads:
            due = thread.wait.due()
            if thread.paused_until > due:
                due = thread.paused_until
            if due <= now:
                ready.append(thread)
            elif due < first:
                first = due
        return ready, first

    def run_one(self, ready: "list[Thread]") -> None:
        """Let one of these threads continue until it blocks."""
        thread = ready[0] if len(ready) == 1 else self.draw.choice(ready)
        self.running = thread
        thread.resume()
        self.running = None

    def kill(self) -> None:
        """End all threads where they are, as the end of the process does."""
        self._dead = True
        for thread in tuple(self.threads):
            thread.kill()
        self.threads.clear()
        # Not when they are collected: what their ``finally`` does would be done on another loop.
        asyncio._set_running_loop(None)
        for loop in self.loops:
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException):  # whatever the worker makes of it
                    task.get_coro().close()
                asyncio.tasks._unregister_task(task)  # or every later loop looks at it
            asyncio.BaseEventLoop.close(loop)  # type: ignore[arg-type]  # not its own
        self.loops.clear()

    # --- for code that runs on a thread ----------------------------------------------------------

    def current(self) -> "Thread | None":
        """The thread that runs; None in the simulation itself."""
        return self.running

    def block(self, wait: Wait) -> None:
        """Let others run until the wait of the current thread is due and the seed chooses it."""
        if self._dead:
            raise GreenletExit  # what a thread does on its way to the end
        thread = self.running
        assert thread is not None, "only simulated threads block"
        now = self.monotonic()
        if wait.due() <= now and thread.paused_until <= now and self._alone(thread, now):
            return
        loop = asyncio._get_running_loop()
        # Code of a task that blocks its loop: the tasks of other threads are entered meanwhile.
        # Without a task there is nothing to put aside, and Python 3.12 raises KeyError for it.
        inside = (
            _swap_current_task is not None
            and loop is not None
            and asyncio.current_task(loop) is not None
        )
        task = _swap_current_task(loop, None) if inside else None
        thread.wait = wait
        asyncio._set_running_loop(None)
        self._hub.switch()
        asyncio._set_running_loop(loop)
        if inside:
            _swap_current_task(loop, task)

    def _alone(self, thread: "Thread", now: float) -> bool:
        for other in self.threads:
            if other is not thread and other.paused_until <= now and other.wait.due() <= now:
                return False
        return self._goes_on()

    def sleep(self, seconds: float) -> None:
        """``time.sleep``."""
        self.block(Until(self.monotonic() + seconds))

    def preempt(self, chance: float = _PREEMPTED, longest: float = _LONGEST_PREEMPTION) -> None:
        """Now and then, let another thread run in the middle of a handle."""
        if self.running is not None and not self._dead and self.draw.random() < chance:
            self.block(Until(self.monotonic() + longest * self.draw.random()))

    def spawn(self, target: Callable[[], object], name: str) -> "Thread":
        """Start a thread."""
        thread = Thread(self, target, name=name)
        thread.start()
        return thread


class Until:
    """Wait for a moment, or for ``condition`` before it."""

    def __init__(self, at: float, condition: Callable[[], bool] = lambda: False) -> None:
        self._at = at
        self._condition = condition

    def due(self) -> float:
        """See ``Wait``."""
        return 0.0 if self._condition() else self._at


class Thread:
    """The part of ``threading.Thread`` that this package uses."""

    def __init__(
        self,
        machine: Machine,
        target: Callable[..., object],
        *,
        args: tuple[Any, ...] = (),
        name: str = "thread",
        daemon: bool = True,
    ) -> None:
        self.name = name
        self.daemon = daemon
        self.error: BaseException | None = None
        self.paused_until = 0.0
        self.wait: Wait = Until(0.0)
        self._machine = machine
        self._alive = False
        self.greenlet = greenlet(lambda: self._run(target, args), parent=machine._hub)

    def start(self) -> None:
        """Raises RuntimeError when the process may not have another thread."""
        machine = self._machine
        if len(machine.threads) >= machine.most_threads:
            raise RuntimeError("can't start new thread")
        machine.threads.append(self)
        machine.started += 1
        self._alive = True

    def _run(self, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            target(*args)
        except GreenletExit:
            pass
        except BaseException as error:  # noqa: BLE001 - a thread that raises ends, as in Python
            self.error = error
        with contextlib.suppress(GreenletExit):
            # A thread lives on for a moment after its last act.
            self._machine.preempt(0.2, _LONGEST_END)
        self._alive = False

    def resume(self) -> None:
        """Switch to it until it blocks or ends."""
        self.greenlet.switch()
        if self.greenlet.dead:
            asyncio._set_running_loop(None)
            if self in self._machine.threads:
                self._machine.threads.remove(self)

    def kill(self) -> None:
        """End it where it is."""
        self._alive = False
        if self.greenlet and not self.greenlet.dead:
            self._machine.running = self
            self.greenlet.throw(GreenletExit)

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._alive

    def join(self, timeout: float | None = None) -> None:
        """Block until it has ended, at most ``timeout`` seconds."""
        if self._alive:
            at = FOREVER if timeout is None else self._machine.monotonic() + timeout
            self._machine.block(Until(at, lambda: not self._alive))


class PreemptedDeque(deque[Any]):
    """``collections.deque`` of the hand-overs: other threads run between its operations."""

    machine: Machine

    def append(self, item: Any) -> None:
        """As in Python."""
        super().append(item)
        self.machine.preempt()

    def popleft(self) -> Any:
        """As in Python."""
        item = super().popleft()
        self.machine.preempt()
        return item


class Event:
    """``threading.Event``."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._set = False

    def set(self) -> None:
        """Release all waiters."""
        self._set = True

    def is_set(self) -> bool:
        """Whether ``set`` was called."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set, at most ``timeout`` seconds."""
        if not self._set:
            at = FOREVER if timeout is None else self._machine.monotonic() + timeout
            self._machine.block(Until(at, self.is_set))
        return self._set


class SimpleQueue:
    """``queue.SimpleQueue``."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        """Never blocks."""
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Raises Empty, when it does not block or ``timeout`` seconds have passed."""
        if block and not self._items:
            at = FOREVER if timeout is None else self._machine.monotonic() + timeout
            self._machine.block(Until(at, lambda: bool(self._items)))
        if not self._items:
            raise Empty
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """Raises Empty."""
        return self.get(block=False)

    def qsize(self) -> int:
        """How many items wait."""
        return len(self._items)

    def empty(self) -> bool:
        """Whether none waits."""
        return not self._items
