"""The parent's end of one child process: its start, its socket, its requests and its end.

Everything runs on the I/O loop, but for a thread that does nothing but wait for the process. A
child has ended when that thread has its exit code *and* its socket is at its end, so no result that
it wrote is overlooked.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from ...aio.fork_guard import keep_from_forks
from ...core.inputs import ExecutionFinished, FunctionMisbehaved
from ...core.wire.remote_text import clean
from ...protocol import connect_pb2 as pb
from . import process_wire as wire

_LAST_WORDS: Final = 1.0
"""Seconds for a socket to be read to its end when its process has ended, and the other way round.
A process that a function forked can keep the socket open.
"""
_TERM_GRACE: Final = 1.0
"""Seconds from the grace of the child to SIGTERM, and from there to SIGKILL."""
_LAST_READS: Final = 2 * wire.MAX_RESULT_BYTES // 2**16
_MOST_NOTICES: Final = 20
"""For each request. A child that sends more does not work, whatever it says."""
_LONGEST_FAILURE: Final = 2000
_CANCELLED_UNASKED: Final = wire.error_result(
    "unknown", "the process that ran this function cancelled it: its event loop was ended"
)
_BLOCKED: Final = (signal.SIGINT, signal.SIGTERM)


class ChildOwner(Protocol):
    """Who has the child; all are called on the I/O loop."""

    def child_ready(self, child: "ChildHandle", functions: dict[str, frozenset[str]]) -> None: ...

    def child_finished(self, child: "ChildHandle", finished: ExecutionFinished) -> None: ...

    def child_noticed(self, notice: FunctionMisbehaved) -> None: ...

    def child_settled(self, child: "ChildHandle") -> None:
        """All that came together was told, or the child can be written to again."""
        ...

    def child_ended(self, child: "ChildHandle") -> None: ...


class ChildHandle(asyncio.Protocol):
    """One process, from ``launch`` to ``child_ended``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: ChildOwner,
        configuration: wire.Configuration,
    ) -> None:
        self.in_flight: set[str] = set()
        self.executions = 0
        """Requests that it was given."""
        self.ready = False
        self.expiring = False
        """It is to be replaced."""
        self.warned = False
        self.stopping = False
        self.writable = True
        self.failure: str | None = None
        """What it, or we, said of its failure."""
        self._loop = loop
        self._owner = owner
        self._configuration = configuration
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket
        self._transport: asyncio.Transport
        self._reader = wire.FrameReader(wire.MAX_RESULT_BYTES)
        self._unsent: list[bytes] = []
        self._cancelled: set[str] = set()
        """Requests in flight that it was asked to cancel."""
        self._notices = 0
        self._exit_code: int | None = None
        self._closed = False
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def launch(self, ready_timeout: float) -> None:
        """Start the process; what becomes of it is told to the owner. Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        keep_from_forks(self, ours)
        with theirs:
            transport, _ = await self._loop.create_unix_connection(lambda: self, sock=ours)
            try:
                process = self._process = _spawn(theirs, self._configuration.path)
            except OSError:
                self.stopping = True
                transport.close()
                raise
        try:
            threading.Thread(target=self._wait, args=(process,), daemon=True).start()
        except RuntimeError as error:  # the system has no thread left
            self.stopping = True
            process.kill()
            process.wait()  # it has had no time to do anything, and SIGKILL cannot be refused
            self._process = None
            transport.abort()
            raise OSError(f"{error}, which waits for the process; raise the limit") from error
        self._later(ready_timeout, self._not_ready, ready_timeout)

    def _not_ready(self, after: float) -> None:
        if not self.ready:
            self.kill(f"was killed because it was not ready after {after:g} s")

    # --- what the owner asks for -----------------------------------------------------------

    def run(self, request: pb.GatewayExecutorRequestData) -> None:
        """Takes effect with ``flush``."""
        self.executions += 1
        self.in_flight.add(request.request_id)
        self._unsent.append(wire.frame(wire.RUN, request.SerializeToString()))

    def cancel(self, request_id: str) -> None:
        self._cancelled.add(request_id)
        self._unsent.append(wire.frame(wire.CANCEL, request_id.encode()))
        self.flush()

    def flush(self) -> None:
        if self._unsent and not self._closed:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def stop(self) -> None:
        """Have it cancel what runs, and end; by force when it does not."""
        if self.stopping:
            return
        self.stopping = True
        grace = self._configuration.grace + _TERM_GRACE
        self._later(grace, self._terminate)
        self._later(grace + _TERM_GRACE, self.kill)
        if not self.ready:
            self.kill()  # it runs nothing yet, and may be in a long import
        elif not self._closed:
            self.flush()
            self._transport.write_eof()

    def refuse(self, why: str) -> None:
        """It is ready, but of no use."""
        self.ready = False
        self.kill(why)

    def kill(self, why: str | None = None) -> None:
        """``why`` says it better than the exit code will."""
        self.failure = why or self.failure
        self.writable = False
        if self._process is not None:
            self._process.kill()

    def _terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    # --- what comes from it ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._configuration.encode())

    def data_received(self, data: bytes) -> None:
        try:
            for kind, body in self._reader.feed(data):
                self._take(kind, body)
        except wire.MalformedFrame as error:
            self.kill(f"was killed because it sent {error}")
            self._transport.abort()
        else:
            self._owner.child_settled(self)

    def _take(self, kind: int, body: bytes) -> None:
        if kind in (wire.RESULT, wire.CANCELLED):
            finished = wire.finished_from(kind, body)
            request_id = finished.request_id
            if request_id not in self.in_flight:
                raise wire.MalformedFrame("a result that nobody waits for")
            if finished.result is None and not self.stopping and request_id not in self._cancelled:
                # A request that nobody asked to cancel is answered, not forgotten.
                finished = ExecutionFinished(request_id, _CANCELLED_UNASKED)
            self.in_flight.discard(request_id)
            self._cancelled.discard(request_id)
            self._owner.child_finished(self, finished)
        elif kind == wire.NOTICE and self.ready:
            self._notices += 1
            if self._notices > _MOST_NOTICES * (self.executions + 1):
                raise wire.MalformedFrame(f"{self._notices} notices")
            self._owner.child_noticed(wire.notice_from(body))
        elif kind == wire.READY and not self.ready:
            functions = wire.ready_functions(body)
            self.ready = True
            self._owner.child_ready(self, functions)
        elif kind == wire.FAILED and not self.ready:
            self.failure = f"failed: {clean(body.decode(errors='replace'), _LONGEST_FAILURE)}"
        else:
            raise wire.MalformedFrame(f"a frame of kind {kind} out of turn")

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._owner.child_settled(self)

    # --- its end ---------------------------------------------------------------------------

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        self.writable = False
        if error is not None:
            self._read_to_the_end()
        if not self.stopping:
            self._later(_LAST_WORDS, self.kill)
        self._check_end()

    def _read_to_the_end(self) -> None:
        """A failed write ends the transport, whatever the child had written before it died."""
        with contextlib.suppress(OSError):
            # Not without end: a process that the child forked may write, faster than this reads.
            for _ in range(_LAST_READS):
                data = self._socket.recv(2**16)
                if not data or self.failure is not None:
                    break
                self.data_received(data)

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        code = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._exited, code)

    def _exited(self, code: int) -> None:
        self._exit_code = code
        self.writable = False
        self._later(_LAST_WORDS, self._transport.abort)
        self._check_end()

    def _check_end(self) -> None:
        if self._exit_code is None or not self._closed:
            return
        for timer in self._timers:
            timer.cancel()
        self._owner.child_ended(self)

    def _later(self, delay: float, action: Callable[..., object], *arguments: object) -> None:
        self._timers.append(self._loop.call_later(delay, action, *arguments))

    def how_it_ended(self) -> str:
        """For people; starts with a verb."""
        if self.failure is not None:
            return self.failure
        return describe_exit(self._exit_code)

    def resident_bytes(self) -> int:
        """Memory it has in use, 0 when that cannot be told."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):  # it has just ended
            return 0
        return int(pages) * _page_size()


def describe_exit(code: int | None) -> str:
    """``code`` as subprocess has it."""
    if code is None:
        return "could not be started"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    # What the kernel does to whoever uses too much memory.
    return f"was killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


_BOOTSTRAP: Final = f"""
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop(1))
runpy.run_module({wire.CHILD_MODULE!r}, run_name="__main__", alter_sys=True)
"""
"""The path comes first: this package may be found only because the parent's program extended it, as
in an archive.
"""


def _spawn(connection: socket.socket, path: list[str]) -> "subprocess.Popen[bytes]":
    """Takes this thread milliseconds: a fork would copy page tables, but this is a vfork."""
    number = str(connection.fileno())
    with _signals_blocked():
        return subprocess.Popen(  # noqa: S603 - this interpreter and a number
            [sys.executable, "-c", _BOOTSTRAP, json.dumps(path), number, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=(connection.fileno(),),
        )


def _page_size() -> int:
    import resource  # not on every system

    return resource.getpagesize()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """The child inherits it, and is deaf until it has handlers: Ctrl-C goes to all processes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
