"""What of the worker is replaced while it runs in virtual time, and nothing else.

Clocks and threads, the event loop of the I/O thread, the dial of the WebSocket, the HTTP transport,
randomness, texts that depend on where the code is, and what ends the process. All of it by name in
the modules that use it, for the time of one simulation: other threads of the same process, of
pytest for example, keep theirs.
"""

import asyncio
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import picows

from inngest_connect.observability.logger import ConnectLogger

from .http import HttpTransport
from .threads import Event, SimpleQueue, Thread

if TYPE_CHECKING:
    from .stack import StackSimulation


def _modules(*names: str) -> list[Any]:
    return [importlib.import_module(f"inngest_connect.{name}") for name in names]


_CLOCKS = _modules("connection", "orchestrator", "worker_view", "observability.recent_activity")
_TIMES = _modules("aio.process_exit", "observability.announcer", "observability.outlet")
_THREADS = _modules(
    "aio.io_thread",
    "aio.hook",
    "aio.process_exit",
    "connection",
    "observability.outlet",
    "observability.library_logs",
    "execution.user_exits",
)
_HAND_OVER, _IO_THREAD, _WATCH, _EXIT = _modules(
    "aio.hand_over", "aio.io_thread", "aio.loop_watch", "aio.process_exit"
)
_CONNECTION, _VIEW, _ORCHESTRATOR, _OUTLET = _modules(
    "connection", "worker_view", "orchestrator", "observability.outlet"
)
_DIAL, _API = _modules("transport.dial", "transport.api_client")
_LOOP_EXECUTOR, _IDENTITY = _modules("execution.loop_executor", "sdk.identity")
_SDK_TEXTS: Any = importlib.import_module("inngest._internal.transforms")
_STACK = "Traceback (most recent call last):\n" + 9 * f"{'a line of a stack':>72}\n"
"""A real one names files, so that a reply would be longer or shorter in another directory."""
_WATCH_SECONDS = 10.0
"""Between two looks at a loop; at four a second they would be most of what is simulated."""


class _Threading:
    """The module ``threading``, of one simulated process.

    A real thread that an earlier test has left, such as one that watches the exit, gets what is
    real.
    """

    def __init__(self, sim: "StackSimulation") -> None:
        import threading

        self._sim = sim
        self._real, self._real_ident = threading, threading.get_ident()
        self.Thread = lambda target, **options: Thread(sim.machine, target, **options)
        self.Event = lambda: Event(sim.machine)
        self.Lock, self.RLock = threading.Lock, threading.RLock

    def current_thread(self) -> Any:
        """The thread that runs."""
        return self._sim.machine.current()

    def main_thread(self) -> Any:
        """The thread that runs the program."""
        if self._real.get_ident() != self._real_ident:
            return self._real.main_thread()
        return next((each for each in self._sim.machine.threads if each.name == "main"), None)

    def get_ident(self) -> int:
        """A number for the current thread."""
        return id(self._sim.machine.current())

    def enumerate(self) -> list[Any]:
        """The threads that run."""
        if self._real.get_ident() != self._real_ident:
            return self._real.enumerate()
        return list(self._sim.machine.threads)


@contextmanager
def replacements(sim: "StackSimulation") -> Iterator[None]:
    """Replace until the end of the block."""
    changed: list[tuple[Any, str, Any]] = []

    def replace(module: Any, name: str, value: Any) -> None:
        changed.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def now() -> float:
        return sim.now

    def sleep(seconds: float) -> None:
        sim.machine.sleep(seconds)

    def program_signals(*arguments: Any, **options: Any) -> Any:
        return sim.program.shutdown_signals(*arguments, **options)

    def http_transport(*_: object) -> HttpTransport:
        sim.http = HttpTransport(sim)
        return sim.http

    time = SimpleNamespace(monotonic=now, sleep=sleep)
    threading = _Threading(sim)
    for module in _CLOCKS:
        replace(module, "monotonic", now)
    for module in _TIMES:
        replace(module, "time", time)
    for module in _THREADS:
        replace(module, "threading", threading)
    replace(_HAND_OVER, "deque", sim.preempted_deque)
    replace(_OUTLET, "SimpleQueue", lambda: SimpleQueue(sim.machine))
    loops = SimpleNamespace(
        new_event_loop=sim.new_io_loop,
        set_event_loop=lambda _: None,
        all_tasks=asyncio.all_tasks,
        wait=asyncio.wait,
    )
    replace(_IO_THREAD, "asyncio", loops)
    replace(_WATCH, "steady", now)
    replace(_WATCH, "TICK_SECONDS", _WATCH_SECONDS)
    replace(_VIEW, "ConnectLogger", partial(ConnectLogger, clock=now))
    replace(_VIEW, "jitter", sim.draw.random)
    replace(_CONNECTION, "jitter", sim.draw.random)
    replace(_CONNECTION, "shutdown_signals", program_signals)
    replace(_SDK_TEXTS, "get_traceback", lambda _: _STACK)
    replace(_LOOP_EXECUTOR, "traceback", SimpleNamespace(format_exception=lambda _: [_STACK]))
    replace(_IDENTITY, "time", SimpleNamespace(time=now))
    # What these two do belongs to the real process, and outlives a simulated one.
    replace(_CONNECTION, "end_despite_functions", lambda *_: None)
    replace(_CONNECTION, "close_at_exit", lambda *_: lambda: None)
    # Frozen objects are never collected: thousands of workers would fill the memory.
    replace(_CONNECTION, "gc", SimpleNamespace(freeze=lambda: None))
    replace(_EXIT, "exit_now", sim.exit_now)
    replace(_ORCHESTRATOR, "drive", sim.drive)
    ws = SimpleNamespace(ws_connect=sim.stack_network.ws_connect, WSError=picows.WSError)
    replace(_DIAL, "picows", ws)
    replace(_DIAL, "connect", sim.stack_network.connect)
    replace(_API, "transport", http_transport)
    try:
        yield
    finally:
        for module, name, value in reversed(changed):
            setattr(module, name, value)
