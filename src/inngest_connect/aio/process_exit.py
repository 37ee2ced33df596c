"""A process whose worker left work behind still ends, in bounded time and with exit code 1.

A program ends in this order. The main coroutine of ``asyncio.run`` returns; ``asyncio.run`` cancels
the tasks that are left, waits for them, and joins the threads of the loop's default executor; the
last statement of the main thread is executed; the interpreter calls what was registered with
``threading._register_atexit``, joins all threads that are not daemons, calls what was registered
with ``atexit``, and takes itself apart.

A function that cannot be cancelled holds the process at four of these points, each with its remedy:

1. It blocks the event loop that ``start()`` is awaited on: ``ExitLimit``.
2. It is a task that swallows its cancellation, and ``asyncio.run`` waits for it: ``release``.
3. It is a thread of ``asyncio.to_thread``, and ``asyncio.run`` joins it: ``release``.
4. It is a thread of any pool, and the interpreter joins it: ``end_despite_functions``, which also
   handles 2 where ``release`` came too late.

Everything here that ends the process runs on daemon threads that do nothing else, because every
other thread may be the one that is blocked. A program that goes on is never ended.
"""

import asyncio
import concurrent.futures.thread
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ..core.wire.remote_text import shortened_id
from ..errors import LocalMistake

EXIT_GRACE: Final = 2.0
"""Seconds for other threads after the end of the main thread."""

RETURN_GRACE: Final = 7.0
"""Seconds from CLOSED until ``start()`` has returned: cancelled functions get five."""

_HANDLERS_GRACE: Final = 5.0
"""Seconds that exit handlers have beyond ``EXIT_GRACE``."""

_INTERVAL: Final = 0.1

_main_thread_ended = threading.Event()
"""Set when the last statement of the program was executed, or an exception ended it."""
_watching = threading.Lock()
"""Held, once acquired, until the process ends: one watching thread is enough."""


def release(loop: asyncio.AbstractEventLoop, tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Have ``asyncio.run`` wait neither for ``tasks`` nor for threads that run now.

    Call it on ``loop``, before the main coroutine of ``asyncio.run`` returns.
    """
    found: list[Any] = list(tasks)
    for future in found:  # which grows by what each one waits for
        if isinstance(future, asyncio.Task):
            # asyncio.run waits for what asyncio.all_tasks() returns; there is no public way out.
            asyncio.tasks._unregister_task(future)
            # It is destroyed with the loop, which is intended and needs no message.
            future._log_destroy_pending = False  # type: ignore[attr-defined]
        waits_for = (getattr(future, "_fut_waiter", None), *getattr(future, "_children", ()))
        found += [one for one in waits_for if one is not None and one not in found]
    # Work that other code has in the old pool goes on; only its threads are no longer joined when
    # the loop ends.
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio"))


def when_main_thread_ends(call: Callable[[], None]) -> None:
    """Have ``call`` called before the interpreter joins its threads; the latest one first.

    Does nothing when the end has begun, or when the interpreter has lost this private function.
    """
    with contextlib.suppress(AttributeError, RuntimeError):
        threading._register_atexit(call)  # type: ignore[attr-defined]


def end_despite_functions(
    loop: asyncio.AbstractEventLoop, before: Sequence[threading.Thread]
) -> None:
    """End the process with code 1 when functions hold its end for ``EXIT_GRACE``.

    They do when their threads or processes outlive the main thread, or when they are the only tasks
    that the end of ``asyncio.run`` on the main thread still waits for. Threads that existed
    ``before`` the worker are the program's: while one of them runs, the program goes on.
    """
    if not _watching.acquire(blocking=False):
        return
    # Threads of a pool do not count: they may be the very ones that functions hold.
    pooled = concurrent.futures.thread._threads_queues
    own = [thread for thread in _joined_at_exit(before) if thread not in pooled]
    show = sys.excepthook

    def ended_by(*exception: Any) -> None:
        # An exception ends the main thread before anything registered with ``threading`` is called,
        # and it is shown first, on a stream that may be blocked. An interactive interpreter shows
        # exceptions of single statements, and goes on; so does a program that shows one it caught.
        interactive = hasattr(sys, "ps1") or sys.flags.interactive
        if not (interactive or _program_runs()):
            _main_thread_ended.set()
        show(*exception)

    sys.excepthook = ended_by
    with contextlib.suppress(RuntimeError):  # no thread left: then nothing can end the process
        threading.Thread(
            target=_watch_exit, args=(loop, own), name="inngest-connect-exit", daemon=True
        ).start()


def _program_runs() -> bool:
    """Whether the stack of this call begins with the program rather than with the interpreter."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    other = threading.current_thread() is not threading.main_thread()
    return other or frame.f_code.co_name in ("<module>", "_run_module_as_main")


def _joined_at_exit(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Those of ``threads`` that the interpreter waits for."""
    main = threading.main_thread()
    return [t for t in threads if t is not main and not t.daemon and t.is_alive()]


def _watch_exit(loop: asyncio.AbstractEventLoop, own: Sequence[threading.Thread]) -> None:
    while not _main_thread_ended.wait(_INTERVAL):
        if _only_released_tasks_hold(loop):
            time.sleep(EXIT_GRACE)
            if _only_released_tasks_hold(loop):
                exit_now("functions that were abandoned do not end when they are cancelled")
    while _to_close or _joined_at_exit(own):  # workers on other threads may finish their work
        time.sleep(_INTERVAL)
    time.sleep(EXIT_GRACE)
    if _joined_at_exit(threading.enumerate()):
        exit_now("functions that were abandoned still run in threads")
    # This thread ends with the interpreter. Until then ``atexit`` calls what the program
    # registered, and what multiprocessing did: it waits for processes that functions have started.
    time.sleep(_HANDLERS_GRACE)
    exit_now("exit handlers of the program, or processes that functions started, do not end")


def _only_released_tasks_hold(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the end of ``asyncio.run``, which began before ``release``, waits for nothing else.

    It waits for the tasks that existed when it began, so to unregister them later has no effect.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_code.co_name != "_cancel_all_tasks":
        frame = frame.f_back
    return frame is not None and not loop.is_closed() and not asyncio.all_tasks(loop)


class ExitLimit:
    """Ends the process with code 1 when the block is not left in time."""

    def __init__(self, left_behind: Callable[[], Sequence[str]], *, always: bool) -> None:
        """Unless ``always``, only while ``left_behind`` names requests that did not end."""
        self._left_behind = left_behind
        self._always = always
        self._left = threading.Event()

    def __enter__(self) -> "ExitLimit":
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def within(self, seconds: float) -> None:
        """Limit the block from now on; of several limits the earliest one counts.

        May be called on any thread, in a signal handler, and after the block.
        """
        if not self._left.is_set():
            with contextlib.suppress(RuntimeError):  # no thread left
                threading.Thread(
                    target=self._watch, args=(seconds,), name="inngest-connect-exit", daemon=True
                ).start()

    def _watch(self, seconds: float) -> None:
        if self._left.wait(seconds):
            return
        left = self._left_behind()
        if left or self._always:
            reason = "the event loop of the functions is blocked, or a task does not end"
            ids = f"; not finished: {', '.join(map(shortened_id, left))}" if left else ""
            exit_now(reason + ids)


_to_close: dict[object, Callable[[], None]] = {}
"""The workers that run, with their functions of ``close_at_exit``."""


def close_at_exit(owner: object, close: Callable[[], None]) -> Callable[[], None]:
    """Have ``close`` called when the main thread has ended; the returned function undoes that.

    A worker on another thread would otherwise stay connected while the interpreter shuts every
    thread pool down: each sync function and each name lookup would fail. ``close`` may block.
    Raises LocalMistake when the main thread has ended already.
    """
    if _main_thread_ended.is_set():
        raise LocalMistake(
            "the main thread has ended, and with it the thread pools that functions need; "
            "keep it until the worker has closed, for example with thread.join()"
        )
    _to_close[owner] = close
    return lambda: _to_close.pop(owner, None) and None


def _close_all() -> None:
    _main_thread_ended.set()
    for owner, close in tuple(_to_close.items()):
        close()
        _to_close.pop(owner, None)


# In a forked child the workers are the parent's: waiting for one would never end.
os.register_at_fork(after_in_child=_to_close.clear)

# When the module is imported: a program whose last line starts the worker's thread has ended before
# that thread runs. And after ``concurrent.futures``, whose function shuts the pools down: the last
# one registered is called first.
when_main_thread_ends(_close_all)


def exit_now(reason: str) -> None:
    """Exit code 1, without cleaning up: what would be waited for may never end."""
    write_last_words(f"inngest-connect: the process ends with exit code 1: {reason}\n", 0.5)
    os._exit(1)


def write_last_words(text: str, seconds: float) -> bool:
    """Write ``text`` to standard error; returns whether that took less than ``seconds``.

    A separate thread writes: a pipe that nobody reads blocks the writer.
    """

    def write() -> None:
        # Either is None in a process that was started with it closed.
        for stream, own in ((sys.stderr, text), (sys.stdout, "")):
            if stream is not None:
                stream.write(own)
                stream.flush()

    writer = threading.Thread(target=write, daemon=True)
    with contextlib.suppress(RuntimeError):  # there is no thread left
        writer.start()
        writer.join(seconds)
    return not writer.is_alive()
