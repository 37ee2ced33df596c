"""Program: the user's program around one worker, which starts it, closes it and survives it."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import NoOpMeterProvider

from inngest_connect.connection import WebSocketWorkerConnection
from inngest_connect.errors import (
    AuthenticationError,
    ConnectError,
    StartupTimeout,
    WorkAbandoned,
    WorkerCrashed,
)
from inngest_connect.factory import connect
from inngest_connect.observability.outlet import DRAIN_SECONDS
from inngest_connect.state_machine import ConnectionState

from ..invariants import SECRET, InvariantViolated
from .event_loop import VirtualLoop
from .functions import KEYS, make_app
from .threads import Machine, Thread

if TYPE_CHECKING:
    from .stack import StackSimulation

_APPS: Final = {keys: make_app(keys) for keys in (0, 1, 2)}
_LONGEST_RETURN: Final = 1.0
"""Seconds from CLOSED until the program goes on."""
_CANCEL_GRACE: Final = 5.0
"""Seconds that cancelled functions get beside that."""
_LONGEST_ABORT: Final = 15.0
"""Seconds from a forced stop until the program goes on: 5 to flush, 2 to close, 5 for functions."""
_EXPECTED: Final = (AuthenticationError, StartupTimeout, WorkAbandoned, asyncio.CancelledError)


class _Handler(logging.Handler):
    """Takes the records of the worker's log."""

    def __init__(self, program: "Program") -> None:
        super().__init__()
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        self._program.logged(record.getMessage())


class Program:
    """One process of the user's program. ``form`` is how it runs the worker."""

    def __init__(self, sim: "StackSimulation", machine: Machine) -> None:
        draw = sim.draw
        self._sim = sim
        self._machine = machine
        self.form = draw.choice(("run", "run", "start", "block"))
        self.isolation = sim.isolation
        self.io_thread = "main" if self.isolation == "none" else "inngest-connect-io"
        """The name of the thread that the core belongs to."""
        self.closes_at_once = draw.random() < 0.05
        """``start()`` and ``close()`` are called in one turn of the loop."""
        self.started_at = 0.0
        self.ended_at: float | None = None
        self.error: BaseException | None = None
        self.aborted_at: float | None = None
        """When it was stopped by force."""
        self._loop: VirtualLoop | None = None
        self._main: Thread | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._signals: tuple[Callable[[], None], Callable[[str], None]] | None = None
        self._close_block: asyncio.Event | None = None
        self.heard_later: list[ConnectionState] = []
        """The same for an async listener, when it has returned."""
        self.observed = 0
        """Events that the observer was called with."""
        self.delayed = 0.0
        """Seconds for which the main thread was paused, or blocked by a function."""
        self.io_paused_until = 0.0
        """Before, the I/O thread did not run: nothing can end the worker without it."""
        self.heard: list[ConnectionState] = []
        """States that the listeners were called with."""
        logger = logging.Logger("simulated", draw.choice((logging.INFO,) * 7 + (logging.DEBUG,)))
        logger.addHandler(_Handler(self))
        settings = sim.schedule.core
        self.connection: WebSocketWorkerConnection = connect(
            [_APPS[min(settings.signing_keys, 2)]],
            instance_id="worker",
            isolation=self.isolation,
            max_worker_concurrency=settings.max_worker_concurrency,
            max_buffer_bytes=settings.max_buffer_bytes,
            shutdown_timeout=settings.shutdown_timeout,
            startup_timeout=settings.startup_timeout,
            on_lease_lost=settings.on_lease_lost,
            logger=logger,
            # The global provider would keep the instruments of every worker.
            meter_provider=NoOpMeterProvider(),
        )
        self.connection.add_event_listener("state_change", self._heard)
        self.connection.add_event_listener("state_change", self._heard_later)
        self.connection.add_observer(self._observe)

    # --- what the worker calls -------------------------------------------------------------------

    def _on_main_thread(self, what: str) -> None:
        current = self._machine.current()
        if current is not self._main:
            name = current.name if current is not None else "none"
            self._sim.violated(f"{what} on the thread {name}")

    def _heard(self, event: Any) -> None:
        self._on_main_thread("a listener is called")
        self.heard.append(event.state)

    async def _heard_later(self, event: Any) -> None:
        self._on_main_thread("an async listener is called")
        await asyncio.sleep(0.01)
        self.heard_later.append(event.state)

    def _observe(self, _: Any) -> None:
        self.observed += 1

    def logged(self, text: str) -> None:
        """A record of the worker's log."""
        current = self._machine.current()
        if current is not None and current.name != "inngest-connect-observers":
            self._sim.violated(f"a record is written on the thread {current.name}: {text}")
        if SECRET in text or any(key in text for key in KEYS):
            self._sim.violated(f"a secret is logged: {text}")

    @contextmanager
    def shutdown_signals(
        self,
        signals: Sequence[Any],
        close: Callable[[], None],
        abort: Callable[[str], None],
        **_: Any,
    ) -> Iterator[bool]:
        """In place of the handlers of real signals."""
        self._signals = (close, abort) if signals else None
        try:
            yield bool(signals)
        finally:
            self._signals = None

    # --- what the user does ----------------------------------------------------------------------

    def start(self) -> None:
        """Run the program on the main thread of its process."""
        self.started_at = self._sim.now
        self._machine.most_threads += 1
        self._main = self._machine.spawn(self._run, "main")

    def close(self) -> None:
        """Ask the worker to close: with a signal, or by ``close()``."""
        if self._signals is not None and self._sim.draw.random() < 0.5:
            self._signals[0]()
        elif self._close_block is not None and self._sim.draw.random() < 0.5:
            self._on_loop(self._close_block.set)
        else:
            self._on_loop(self._close)

    def abort(self) -> None:
        """Stop it by force: with a second signal, or by cancelling ``start()``."""
        if self._signals is not None and self._sim.draw.random() < 0.5:
            self._signals[0]()
            self._signals[1]("second signal")
        elif self._starting is not None:
            self._on_loop(self._starting.cancel)
        elif self._signals is not None:
            self._signals[0]()
            self._signals[1]("second signal")
        else:
            return  # a process that has not started yet
        if self.form != "block":  # where a first cancellation leaves the block, gracefully
            self.aborted_at = self._sim.now

    def _close(self) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self.connection.close())
        task.add_done_callback(lambda ended: ended.cancelled() or ended.result())
        if self._close_block is not None:
            self._close_block.set()

    def _on_loop(self, call: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    # --- the main thread -------------------------------------------------------------------------

    def _new_loop(self) -> VirtualLoop:
        self._loop = VirtualLoop(self._machine)
        return self._loop

    def _run(self) -> None:
        try:
            if self.form == "run":
                self.connection.run(loop_factory=self._new_loop)
            else:
                with asyncio.Runner(loop_factory=self._new_loop) as runner:
                    main = self._block() if self.form == "block" else self._start()
                    runner.run(main)
        except Exception as error:  # noqa: BLE001 - judged here
            self._ended(error)
        except asyncio.CancelledError as error:
            self._ended(error)
        else:
            self._ended(None)

    async def _start(self) -> None:
        if self.closes_at_once:
            closing = asyncio.create_task(self.connection.close())
            starting = asyncio.create_task(self.connection.start())
            await asyncio.wait([closing, starting])
            starting.result()
            return
        self._starting = asyncio.current_task()
        try:
            await self.connection.start()
        finally:
            self._nothing_is_left()

    async def _block(self) -> None:
        self._close_block = asyncio.Event()
        self._starting = asyncio.current_task()
        async with self.connection:
            await self._close_block.wait()
        self._nothing_is_left()

    def _nothing_is_left(self) -> None:
        """``start()`` has returned: on this loop, only functions may go on."""
        assert self._loop is not None
        current = asyncio.current_task()
        names = [str(task) for task in asyncio.all_tasks() if task is not current]
        timers = [str(timer) for timer in self._loop._scheduled if not timer._cancelled]
        functions = self._sim.functions
        if functions.running_async:
            self._sim.violated(f"start() has returned and {functions.running_async} run on")
        if not self._sim.invariants.running and (names or timers):
            self._sim.violated(f"start() has returned and left {names} {timers}")
        threads = [one.name for one in self._machine.threads]
        if "inngest-connect-io" in threads:
            self._sim.violated("start() has returned and the I/O thread runs")

    def _ended(self, error: BaseException | None) -> None:
        self.error, self.ended_at = error, self._sim.now
        self._sim.note("program", f"ends: {error!r}")
        no_thread = isinstance(error, WorkerCrashed) and "cannot be started" in str(error)
        if error is not None and not isinstance(error, _EXPECTED) and not no_thread:
            self._sim.violated(f"the program ends with {error!r}")
        self._sim.program_ended()
        if isinstance(error, ConnectError) and SECRET in str(error):
            self._sim.violated(f"a secret is raised: {error}")

    def finally_holds(self) -> None:
        """Check what the program has seen of its worker. Raises InvariantViolated."""
        sim = self._sim
        late = self.delayed or sim.threads_refused
        if sim.emitted_events > self.observed and not late:
            raise InvariantViolated(f"of {sim.emitted_events} events {self.observed} are observed")
        longest = _LONGEST_RETURN + self.delayed
        if sim.threads_refused:
            longest += DRAIN_SECONDS
        if sim.core.shutdown.abandoned or self.aborted_at is not None:
            longest += _CANCEL_GRACE
        if (
            sim.finished_at
            and self.ended_at is not None
            and self.ended_at > sim.finished_at + longest
        ):
            raise InvariantViolated(f"CLOSED at {sim.finished_at}, ended at {self.ended_at}")
        last = max(self.aborted_at or 0.0, self.io_paused_until) + _LONGEST_ABORT + self.delayed
        if self.aborted_at is not None and (self.ended_at or 0.0) > last:
            raise InvariantViolated(f"stopped at {self.aborted_at}, ended at {self.ended_at}")
        early = self.closes_at_once and self.form == "start"
        begun = max(self.started_at, self.io_paused_until)
        if early and (self.ended_at or 0.0) - begun > _LONGEST_ABORT + self.delayed:
            raise InvariantViolated(f"closed while it started, ended at {self.ended_at}")
        if self.heard != sim.emitted or self.heard_later != sim.emitted:
            raise InvariantViolated(
                f"{sim.emitted} happened, listeners heard {self.heard} and {self.heard_later}"
            )
        if self._loop is not None and self._loop.errors:
            raise InvariantViolated(f"unhandled on the program's loop: {self._loop.errors}")
