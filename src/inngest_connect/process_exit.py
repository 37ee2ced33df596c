"""A process whose worker left work behind still ends, in bounded time and with exit code 1.

A function that cannot be cancelled holds a process in three places: ``asyncio.run`` waits for a
task that swallows its cancellation and for threads of ``asyncio.to_thread``, and the interpreter
waits for the threads of every pool. ``release`` takes the first two off the event loop.
``end_despite_threads`` limits the third, once the main thread has ended: a program that goes on is
never ended from here. ``limited`` is for ``run()`` and the command line, which own the process.
"""

import asyncio
import concurrent.futures.thread
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from .errors import LocalMistake

EXIT_GRACE: Final = 2.0
"""Seconds for other threads after the end of the main thread."""

RETURN_GRACE: Final = 7.0
"""Seconds from CLOSED until ``run()`` has returned: cancelled functions get five."""

_main_thread_ended = threading.Event()
_watching = threading.Lock()
_main_thread_ends = threading.Event()


def release(loop: asyncio.AbstractEventLoop, tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Have ``asyncio.run`` wait neither for ``tasks`` nor for threads that run now."""
    found: list[Any] = list(tasks)
    for future in found:  # which grows by what each one waits for
        if isinstance(future, asyncio.Task):
            asyncio.tasks._unregister_task(future)
            # It is destroyed with the loop, which is what is wanted and needs no message.
            future._log_destroy_pending = False  # type: ignore[attr-defined]
        waits_for = (getattr(future, "_fut_waiter", None), *getattr(future, "_children", ()))
        found += [one for one in waits_for if one is not None and one not in found]
    # Work that others have in the old pool goes on; only nobody waits for it at the loop's end.
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio"))


def when_main_thread_ends(call: Callable[[], None]) -> bool:
    """Call it before the interpreter waits for its threads; the latest one first.

    Returns whether that is possible: the way to it is private, and closed once the end has begun.
    """
    try:
        threading._register_atexit(call)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return False
    return True


def end_despite_threads() -> None:
    """End the process with code 1 when threads outlive the main thread by ``EXIT_GRACE``."""
    if not _watching.acquire(blocking=False) or not when_main_thread_ends(_main_thread_ended.set):
        return
    _notice_uncaught_exceptions()
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=_watch_exit, name="inngest-connect-exit", daemon=True).start()


def _notice_uncaught_exceptions() -> None:
    """An exception that ends the main thread is shown first, on a stream that may be blocked."""
    show = sys.excepthook

    def ended(*exception: Any) -> None:
        # An interactive interpreter shows exceptions of single statements, and goes on.
        if not (hasattr(sys, "ps1") or sys.flags.interactive):
            _main_thread_ended.set()
        show(*exception)

    sys.excepthook = ended


def _watch_exit() -> None:
    _main_thread_ended.wait()
    threading.Event().wait(EXIT_GRACE)
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        exit_now("functions that were abandoned still run in threads")


@contextlib.contextmanager
def limited(closed: "concurrent.futures.Future[None]") -> Iterator[None]:
    """End the process with code 1 when the block is not left ``RETURN_GRACE`` after ``closed``."""
    left = threading.Event()

    def watch() -> None:
        if not left.wait(RETURN_GRACE):
            exit_now("the event loop of the functions is blocked, or a task does not end")

    def start_watch(_: "concurrent.futures.Future[None]") -> None:
        if not left.is_set():
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=watch, name="inngest-connect-exit", daemon=True).start()

    closed.add_done_callback(start_watch)
    try:
        yield
    finally:
        left.set()


_to_close: dict[object, Callable[[], None]] = {}


def close_at_exit(owner: object, close: Callable[[], None]) -> Callable[[], None]:
    """Call ``close`` when the main thread has ended; the returned function ends that.

    A worker on another thread would otherwise stay connected while the interpreter shuts every
    thread pool first: each sync function and each name lookup would fail. ``close`` may block.
    """
    if _main_thread_ends.is_set():
        raise LocalMistake(
            "the main thread has ended, and with it the thread pools that functions need; "
            "keep it until the worker has closed, for example with thread.join()"
        )
    _to_close[owner] = close
    return lambda: _to_close.pop(owner, None) and None


def _close_all() -> None:
    _main_thread_ends.set()
    for close in tuple(_to_close.values()):
        close()


# When the module is imported: a program whose last line starts the worker's thread has ended
# before that thread runs. After concurrent.futures: the last one registered is called first.
when_main_thread_ends(_close_all)


def exit_now(reason: str) -> None:
    """Exit code 1, without cleaning up: what would be waited for may never end."""

    write_last_words(f"inngest-connect: the process ends with exit code 1: {reason}\n", 0.5)
    os._exit(1)


def write_last_words(text: str, seconds: float) -> bool:
    """Write ``text`` to standard error; returns whether that took less than ``seconds``.

    In a thread of its own: a pipe that nobody reads blocks the writer.
    """

    def write() -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
        sys.stdout.flush()

    writer = threading.Thread(target=write, daemon=True)
    with contextlib.suppress(RuntimeError):  # there is no thread left
        writer.start()
        writer.join(seconds)
    return not writer.is_alive()
