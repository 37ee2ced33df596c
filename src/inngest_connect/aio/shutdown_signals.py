"""The process's signal handlers for shutdown: one per signal, for all workers of the process.

``shutdown_signals`` subscribes one worker. The first signal asks it to close, the second one to
abort.

Rules of this file:
1. There is one Python handler, ``_handle``, however many workers there are. The first subscription
   installs it, the last one puts back the handler before it. Subscriptions end in any order.
2. A handler that other code installs meanwhile is not replaced. When that code puts ``_handle``
   back later, it finds no subscriber and behaves as the handler before it.
3. A signal is seen twice: as a byte on the wakeup descriptor, by a thread, also while the main
   thread runs native code; and by ``_handle``, on the main thread, also when other code (asyncio's
   ``add_signal_handler``) has taken the wakeup descriptor. Each way counts separately and the
   larger count is used, so that one signal never counts as two.
4. A process that a signal has closed ignores further ones on the way to its own exit code: a
   service manager repeats its signal. So ``_handle`` stays for ``_ABSORB_SECONDS`` where the
   handler before it would end the process, and from the interpreter's exit until the process ends.
5. A handler before it that does more, a web server's for example, receives the signal when the
   worker has ended and the program goes on: not earlier, because many end the process and the work
   that is being finished. Handlers of an event loop receive it immediately, by the descriptor.

Threads: signal handlers can be installed on the main thread only, so all of ``_Registry`` runs
there, except ``_wakeup_received``. ``_handle`` can run between any two of its instructions. What it
reads is therefore never changed in place (``_subscriptions`` is replaced) or is changed by single
operations of a dictionary, in an order that each method states.
"""

import asyncio
import atexit
import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final, Literal

from .process_exit import when_main_thread_ends
from .wakeup_descriptor import WakeupDescriptor

_ABSORB_SECONDS: Final = 3.0
_PASS_ON_SECONDS: Final = 0.1
"""A program whose event loop still runs so long after its worker has ended goes on."""
_EXIT_SECONDS: Final = 20.0
"""A process that ends so soon after a signal has closed its worker ends because of that signal."""

_Way = Literal["handler", "wakeup"]


class _Subscription:
    """One worker's. ``seen_by`` is called on the main thread and on the wakeup thread."""

    def __init__(
        self,
        signals: Sequence[signal.Signals],
        close: Callable[[], None],
        abort: Callable[[str], None],
    ) -> None:
        self.signals = frozenset(signals)
        self.number = 0
        """The signal that was acted on last; 0 for none."""
        self._close = close
        self._abort = abort
        self._counts: dict[_Way, int] = {"handler": 0, "wakeup": 0}
        self._acted = 0
        # Reentrant: a signal handler can run in the middle of another call on the main thread.
        self._lock = threading.RLock()

    def seen_by(self, way: _Way, number: int) -> None:
        with self._lock:
            self._counts[way] += 1
            count = max(self._counts.values())
            if count <= self._acted:
                return
            self._acted = count
            self.number = number
        if count == 1:
            self._close()
        else:
            self._abort(f"second signal, {signal.Signals(number).name}")


class _Registry:
    """See the rules of this file."""

    def __init__(self) -> None:
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._previous: dict[int, Any] = {}
        """The handler before ``_handle``, for each signal that has it. SIG_DFL replaces one that
        was not installed from Python and cannot be put back."""
        self._wakeup: WakeupDescriptor | None = None
        self._absorb_until: dict[int, float] = {}
        self._closed_at: dict[int, float] = {}
        """When a worker that this signal had closed has ended."""
        self._mask: set[int | signal.Signals] | None = None
        self._exit_planned = False
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )

    def add(self, subscription: _Subscription, *, wakeup: bool) -> None:
        self._subscriptions = (*self._subscriptions, subscription)
        if not self._exit_planned:
            # The interpreter joins threads, then calls ``atexit``, then takes itself apart.
            self._exit_planned = True
            atexit.register(self._ignore_until_the_end)
            when_main_thread_ends(self._absorb_at_exit)
        for number in subscription.signals:
            self._absorb_until.pop(number, None)
            if signal.getsignal(number) != self._handle:
                before = signal.signal(number, self._handle)
                self._previous[number] = signal.SIG_DFL if before is None else before
        if wakeup and self._wakeup is None:
            # Without a thread the signal is seen when the main thread runs Python code again.
            with contextlib.suppress(RuntimeError, OSError, ValueError):
                self._wakeup = WakeupDescriptor(self._wakeup_received)

    def remove(self, subscription: _Subscription) -> None:
        signaled = subscription.number
        handler = self._previous.get(signaled)
        if signaled:
            # Before the subscription is removed: ``_handle`` would find neither, and end the
            # process.
            now = time.monotonic()
            for number in subscription.signals:
                self._closed_at[number] = now
                if _ends_the_process(self._previous.get(number)):
                    self._absorb_until[number] = now + _ABSORB_SECONDS
        self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)
        if not self._subscriptions and self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None
        for number in subscription.signals - self._absorb_until.keys():
            self._put_back(number)
        if signaled:
            # Neither is called when the event loop ends before, and usually the program with it:
            # then the next signal acts as it would have before.
            with contextlib.suppress(RuntimeError):
                loop = asyncio.get_running_loop()
                loop.call_later(_PASS_ON_SECONDS, self._pass_on, signaled, handler)
                loop.call_later(_ABSORB_SECONDS + 0.1, self._put_back_all)

    def _pass_on(self, number: int, handler: Any) -> None:
        """Give a signal that has closed all workers to the handler that was there before."""
        if callable(handler) and not _ends_the_process(handler) and not self._wanted(number):
            handler(number, None)

    def _put_back(self, number: int) -> None:
        """Put back what was there, unless a worker needs ``_handle`` or it was replaced."""
        if number not in self._previous or self._wanted(number):
            return
        self._absorb_until.pop(number, None)
        if signal.getsignal(number) == self._handle:
            signal.signal(number, self._previous.pop(number))

    def _put_back_all(self) -> None:
        """The same for all signals, except those whose repetition is still absorbed."""
        now = time.monotonic()
        for number in tuple(self._previous):
            if now >= self._absorb_until.get(number, 0.0):
                self._put_back(number)

    def _wanted(self, number: int) -> bool:
        return any(number in one.signals for one in self._subscriptions)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._wanted(number):
            # The handler before this one is not called: most end the process, with the work that
            # the worker is finishing. Coverage's, for one, sends the signal again.
            self._deliver("handler", number)
        elif time.monotonic() >= self._absorb_until.get(number, 0.0):
            previous = self._previous.get(number, signal.SIG_DFL)
            if callable(previous):
                previous(number, frame)
            elif previous is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

    def _wakeup_received(self, number: int) -> None:
        self._deliver("wakeup", number)

    def _deliver(self, way: _Way, number: int) -> None:
        for subscription in self._subscriptions:
            if number in subscription.signals:
                subscription.seen_by(way, number)

    # --- the end of the process ---------------------------------------------------------------

    def _absorb_at_exit(self) -> None:
        """The main thread has ended: ``asyncio.run`` may have put its own handler back."""
        for number in self._just_closed():
            self._absorb_until[number] = time.monotonic() + _ABSORB_SECONDS
            handler = signal.getsignal(number)
            if _ends_the_process(handler):
                self._previous[number] = handler
                signal.signal(number, self._handle)

    def _ignore_until_the_end(self) -> None:
        """The last step: then the interpreter resets handlers written in Python to the default."""
        for number in self._just_closed():
            signal.signal(number, signal.SIG_IGN)

    def _just_closed(self) -> list[int]:
        now = time.monotonic()
        return [n for n, at in self._closed_at.items() if now - at < _EXIT_SECONDS]

    # --- forks ---------------------------------------------------------------------------------

    # A signal that reaches a forked child before its handlers are reset would be written to the
    # wakeup descriptor, which it shares with the parent, and close the parent's worker
    # (``Process.start()`` directly followed by ``terminate()``). So signals are blocked until then.

    def _before_fork(self) -> None:
        if self._previous:
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, list(self._previous))

    def _after_fork_in_parent(self) -> None:
        mask, self._mask = self._mask, None
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _after_fork_in_child(self) -> None:
        self._subscriptions = ()
        self._absorb_until.clear()
        self._closed_at.clear()
        if self._wakeup is not None:
            self._wakeup.forget()
            self._wakeup = None
        self._put_back_all()
        self._after_fork_in_parent()


def _ends_the_process(handler: Any) -> bool:
    """Whether it does nothing but end the program: Python's own, or that of ``asyncio.run``."""
    if isinstance(handler, functools.partial):
        return isinstance(getattr(handler.func, "__self__", None), asyncio.Runner)
    return handler in (signal.SIG_DFL, signal.default_int_handler)


_registry = _Registry()


@contextlib.contextmanager
def shutdown_signals(
    signals: Sequence[signal.Signals],
    close: Callable[[], None],
    abort: Callable[[str], None],
    *,
    wakeup: bool = True,
) -> Iterator[bool]:
    """Subscribe for the time of the block; yields whether that was possible.

    Off the main thread it is not. ``close`` and ``abort`` are called on any thread. ``wakeup`` has
    signals seen while the main thread runs native code.
    """
    if not signals or threading.current_thread() is not threading.main_thread():
        yield False
        return
    subscription = _Subscription(signals, close, abort)
    _registry.add(subscription, wakeup=wakeup)
    try:
        yield True
    finally:
        _registry.remove(subscription)
