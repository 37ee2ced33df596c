"""Keeps what user code does to the interpreter or its event loop the failure of one function.

asyncio raises SystemExit and KeyboardInterrupt of a task or a callback out of ``run_forever``,
which would end everything else on that loop. Two things prevent it:

1. ``guard_tasks``: every task that a function creates (the SDK's own, parallel steps, background
   tasks) raises ``FunctionExited`` instead. This works on any loop.
2. ``run_to_end``: where this package runs the loop, it resumes the loop after anything that stopped
   it before its main coroutine ended: an exit in a callback, ``loop.stop()``, a cancellation of all
   tasks. Nothing is lost by that: callbacks that did not run yet are still queued in the loop.
"""

import asyncio
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ..aio.running_loop import in_trio
from ..core.inputs import FunctionMisbehaved
from ..core.wire.user_text import guarded, is_a, shown_error
from ..errors import LocalMistake

Result = TypeVar("Result")
Warn = Callable[[str], None]
"""Takes a sentence about what user code did. Called on the thread of the loop."""

EXITS: Final = (SystemExit, KeyboardInterrupt)
_ASYNCIO: Final = Path(asyncio.__file__).parent
_TRACEBACK: Final = BaseException.__dict__["__traceback__"]
"""Bypasses a property of a subclass."""
_MOST_EMPTY_RUNS: Final = 100
"""Times in a row that a loop may end before it has run anything. It cannot be resumed then."""


class FunctionExited(Exception):
    """Replaces the SystemExit or KeyboardInterrupt that is its cause."""


@dataclass(slots=True)
class Origin:
    """The request whose function the running code belongs to."""

    request_id: str
    run_id: str
    function: str
    post: Callable[[FunctionMisbehaved], None]

    def exited(self, error: BaseException) -> None:
        """Have users warned that the function raised ``error``, one of ``EXITS``."""
        text = f"function {self.function!r} raised {_with_place(error)}"
        self.post(FunctionMisbehaved(self.request_id, text))


current_function: ContextVar[Origin | None] = ContextVar("inngest_connect_function", default=None)
"""Inherited by all tasks and callbacks that a function creates."""


def report(text: str) -> None:
    """Have users warned of what went wrong around the function that runs here."""
    origin = current_function.get()
    if origin is not None:
        origin.post(FunctionMisbehaved(origin.request_id, text))


def _with_place(error: BaseException) -> str:
    """The exception, and where it was raised."""

    def place() -> str:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [each for each in frames if Path(each.filename).parent != _ASYNCIO]
        where = ours[-1]
        return f" in {where.name} ({Path(where.filename).name}, line {where.lineno})"

    return shown_error(error) + guarded(place, "")


def is_ctrl_c(error: BaseException) -> bool:
    """Whether ``error`` is a signal's KeyboardInterrupt rather than one that user code raised.

    Signals interrupt the main thread only. ``asyncio.Runner`` raises it in its own frame; without a
    Runner, the default handler raises it in whatever frame the main thread executes.
    """
    if not is_a(error, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    return _from_runner(error) or signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _from_runner(error: BaseException) -> bool:
    trace = _TRACEBACK.__get__(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == "asyncio.runners"


class _GuardedTasks:
    """A task factory. It creates tasks of other code than functions as the previous one did."""

    def __init__(self, previous: Callable[..., Any] | None) -> None:
        self._previous = previous
        self._users = 0

    def __call__(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> Any:
        # A task that starts in another context than this one belongs to that one's function.
        context = options.get("context")
        origin = current_function.get() if context is None else context.get(current_function)
        if origin is not None:
            work = _guarded(work, origin)
        if self._previous is not None:
            return self._previous(loop, work, **options)
        return asyncio.Task(work, loop=loop, **options)

    def add_user(self) -> None:
        self._users += 1

    def remove_user(self, loop: asyncio.AbstractEventLoop) -> None:
        self._users -= 1
        # A factory that other code installed after this one calls it. Then it stays, which is
        # harmless.
        installed: Any = loop.get_task_factory()
        if self._users == 0 and installed is self:
            loop.set_task_factory(self._previous)


async def _guarded(work: Coroutine[Any, Any, Result], origin: Origin) -> Result:
    try:
        return await work
    except EXITS as error:
        if is_ctrl_c(error):
            raise
        origin.exited(error)
        raise FunctionExited from error


def guard_tasks(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Guard the tasks of functions on ``loop``; the returned function ends that."""
    installed: Any = loop.get_task_factory()
    guard: Any = installed if isinstance(installed, _GuardedTasks) else _GuardedTasks(installed)
    loop.set_task_factory(guard)
    guard.add_user()
    return lambda: guard.remove_user(loop)


class _MainTask(asyncio.Task[Result]):
    """Cannot be cancelled by user code that cancels all tasks of the loop."""

    def __init__(
        self, main: Coroutine[Any, Any, Result], loop: asyncio.AbstractEventLoop, warn: Warn
    ) -> None:
        self._warn = warn
        super().__init__(main, loop=loop)

    def cancel(self, msg: Any | None = None) -> bool:
        # Time limits and the end of the loop cancel it from asyncio, ``run_to_end`` from here.
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller == __name__ or caller.partition(".")[0] in ("asyncio", "uvloop"):
            return super().cancel(msg)
        if not self.done():
            self._warn(f"user code ({caller}) cancelled the worker's task; the worker goes on")
        return False


def run_to_end(
    main: Coroutine[Any, Any, Result],
    warn: Warn,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Result:
    """``asyncio.run(main)``, except that user code cannot end the loop before ``main`` ends.

    ``warn`` receives each attempt. Raises KeyboardInterrupt after a Ctrl-C for which ``main`` has
    no handler, as asyncio.run does.
    """
    if asyncio._get_running_loop() is not None or in_trio():
        main.close()
        raise LocalMistake(
            "run() runs an event loop, and one is running in this thread already (a notebook, an "
            "async function): await start() there, or use the worker with async with; under trio "
            "await trio.to_thread.run_sync(worker.run)"
        )
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        task = _MainTask(main, loop, warn)
        interrupted = False
        begun = asyncio.Event()
        empty_runs = 0

        async def until_done() -> None:
            begun.set()
            await asyncio.wait([task])

        while not task.done():
            empty_runs = 0 if begun.is_set() else empty_runs + 1
            begun.clear()
            try:
                # The Runner has the handler for Ctrl-C. It cancels what it runs, which is a task
                # that waits for ``task``, not ``task`` itself, and raises KeyboardInterrupt.
                runner.run(until_done())
            except KeyboardInterrupt as error:
                # The Runner's handler is uninstalled by now; what it raised shows its frame.
                if not _from_runner(error):
                    warn(f"user code raised {_with_place(error)}; the worker goes on")
                elif interrupted:
                    raise
                else:
                    interrupted = True
                    task.cancel()
            except asyncio.CancelledError:
                warn("user code cancelled all tasks of the event loop; the worker goes on")
            except BaseException as error:
                # A signal handler of user code can raise anything, in the middle of the loop.
                if loop.is_closed() or empty_runs > _MOST_EMPTY_RUNS:
                    raise
                if isinstance(error, RuntimeError) and "stopped before Future" in str(error):
                    warn("user code stopped the event loop; the worker resumed it")
                else:
                    warn(f"user code raised {_with_place(error)}; the worker goes on")
        if interrupted and task.cancelled():
            raise KeyboardInterrupt
        return task.result()
