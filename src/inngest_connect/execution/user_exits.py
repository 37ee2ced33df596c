"""Keeps what user code does to the interpreter or its event loop the failure of one function.

asyncio raises SystemExit and KeyboardInterrupt of a task or a callback out of ``run_forever``,
which would end everything else on that loop. Two things prevent it:

1. ``guard_tasks``: every task that a function creates (the SDK's own, parallel steps, background
   tasks) raises ``FunctionExited`` instead. This works on any loop.
2. ``run_to_end``: where this package runs the loop, the loop is resumed after anything that stopped
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

from ..core.wire.user_text import guarded, is_a, shown_error
from ..errors import LocalMistake

Result = TypeVar("Result")
Report = Callable[[str], None]
"""Takes what happened, as a sentence. Called on the loop's thread."""

_ASYNCIO: Final = Path(asyncio.__file__).parent
_TRACEBACK: Final = BaseException.__dict__["__traceback__"]
"""Bypasses a property of a subclass."""
EXITS: Final = (SystemExit, KeyboardInterrupt)


_MOST_VAIN_TURNS: Final = 100
"""Times in a row that a loop may end before it has run anything. It cannot be resumed then."""


class FunctionExited(Exception):
    """In place of the SystemExit or KeyboardInterrupt that is its cause."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The function that the running code belongs to."""

    function: str
    report: Report


current_function: ContextVar[Origin | None] = ContextVar("inngest_connect_function", default=None)
"""Inherited by all tasks and callbacks that a function creates."""


def describe_exit(error: BaseException) -> str:
    """The exception, and where it was raised."""

    def place() -> str:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [each for each in frames if Path(each.filename).parent != _ASYNCIO]
        where = ours[-1]
        return f" in {where.name} ({Path(where.filename).name}, line {where.lineno})"

    return shown_error(error) + guarded(place, "")


def is_ctrl_c(error: BaseException) -> bool:
    """Whether ``error`` is a signal's KeyboardInterrupt rather than one that user code raised.

    Signals interrupt the main thread only. ``asyncio.Runner`` raises it in a frame of its own;
    without a Runner, the default handler raises it wherever the main thread is.
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
    """A task factory. Tasks of other code than functions are created as before."""

    def __init__(self, before: Callable[..., Any] | None) -> None:
        self.before = before
        self.users = 0

    def __call__(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> Any:
        # A task that starts in another context than this one belongs to that one's function.
        context = options.get("context")
        origin = current_function.get() if context is None else context.get(current_function)
        if origin is not None:
            work = _guarded(work, origin)
        if self.before is not None:
            return self.before(loop, work, **options)
        return asyncio.Task(work, loop=loop, **options)


async def _guarded(work: Coroutine[Any, Any, Result], origin: Origin) -> Result:
    try:
        return await work
    except EXITS as error:
        if is_ctrl_c(error):
            raise
        origin.report(f"function {origin.function!r} raised {describe_exit(error)}")
        raise FunctionExited from error


def guard_tasks(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Guard the tasks of functions on ``loop``; the returned function ends that."""
    installed: Any = loop.get_task_factory()
    guard: Any = installed if isinstance(installed, _GuardedTasks) else _GuardedTasks(installed)
    loop.set_task_factory(guard)
    guard.users += 1

    def release() -> None:
        guard.users -= 1
        # A factory that somebody installed after ours calls it; then it stays, and does no harm.
        installed: Any = loop.get_task_factory()
        if guard.users == 0 and installed is guard:
            loop.set_task_factory(guard.before)

    return release


class _MainTask(asyncio.Task[Result]):
    """Cannot be cancelled by user code that cancels all tasks of the loop."""

    report: Report

    def cancel(self, msg: Any | None = None) -> bool:
        # Time limits and the end of the loop cancel it from asyncio, ``run_to_end`` from here.
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller == __name__ or caller.partition(".")[0] in ("asyncio", "uvloop"):
            return super().cancel(msg)
        if not self.done():
            self.report(f"user code ({caller}) cancelled the worker's task; the worker goes on")
        return False


def run_to_end(
    main: Coroutine[Any, Any, Result],
    report: Report,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Result:
    """``asyncio.run(main)`` for a loop of our own, which user code cannot end before ``main`` ends.

    Raises KeyboardInterrupt after a Ctrl-C for which ``main`` has no handler, as asyncio.run does.
    """
    if asyncio._get_running_loop() is not None:
        main.close()
        raise LocalMistake(
            "run() runs an event loop, and one is running in this thread already (a notebook, an "
            "async function): await start() there, or use the worker with async with"
        )
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        task: _MainTask[Result] = _MainTask(main, loop=loop)
        task.report = report
        interrupted = False
        begun = asyncio.Event()
        vain = 0
        while not task.done():
            vain = 0 if begun.is_set() else vain + 1
            begun.clear()
            try:
                # The Runner has the handler for Ctrl-C: it cancels what it runs, which is not the
                # task itself, and raises KeyboardInterrupt.
                runner.run(_until(task, begun))
            except KeyboardInterrupt as error:
                # The Runner's handler is uninstalled by now; what it raised shows its frame.
                if not _from_runner(error):
                    report(f"user code raised {describe_exit(error)}; the worker goes on")
                elif interrupted:
                    raise
                else:
                    interrupted = True
                    task.cancel()
            except asyncio.CancelledError:
                report("user code cancelled all tasks of the event loop; the worker goes on")
            except BaseException as error:
                # A signal handler of user code can raise anything, in the middle of the loop.
                if loop.is_closed() or vain > _MOST_VAIN_TURNS:
                    raise
                if isinstance(error, RuntimeError) and "stopped before Future" in str(error):
                    report("user code stopped the event loop; the worker resumed it")
                else:
                    report(f"user code raised {describe_exit(error)}; the worker goes on")
        if interrupted and task.cancelled():
            raise KeyboardInterrupt
        return task.result()


async def _until(task: asyncio.Task[Any], begun: asyncio.Event) -> None:
    begun.set()
    await asyncio.wait([task])
