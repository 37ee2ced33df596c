"""Child: the parent's end of one child process, with its socket, its requests and its end.

Everything runs on the I/O loop, except one thread that does nothing but wait for the process. A
child has ended when that thread has its exit code *and* its socket is read to the end, so that no
result that it wrote is lost. Each of the two limits how long the other may take.
"""

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ...aio.fork_guard import keep_from_forks
from ...core.events import ErrorOccurred
from ...core.inputs import ExecutionFinished, FunctionMisbehaved
from ...core.wire.messages import error_result
from ...core.wire.remote_text import clean
from ...protocol import connect_pb2 as pb
from . import frames
from .interpreter import describe_exit, spawn
from .reports import Reports

_LAST_WORDS: Final = 1.0
"""Seconds to read the socket to its end after the process has ended, and the other way round. A
process that a function forked can keep the socket open.
"""
_TERM_GRACE: Final = 1.0
"""Seconds from the end of ``grace`` to SIGTERM, and from there to SIGKILL."""
_LAST_READS: Final = 2 * frames.MAX_RESULT_BYTES // 2**16
_MOST_NOTICES: Final = 20
"""For each request. A child that sends more is broken."""
_LONGEST_FAILURE: Final = 2000
_CANCELLED_UNASKED: Final = error_result(
    "unknown", "the process that ran this function cancelled it: its event loop was ended"
)


class ChildOwner(Protocol):
    """Owns children; its methods are called on the I/O loop."""

    def child_ready(self, child: "Child", functions: dict[str, frozenset[str]]) -> None:
        """The child has loaded its apps and accepts requests."""
        ...

    def child_settled(self, child: "Child") -> None:
        """A batch of results was posted, or the child accepts data again."""
        ...

    def child_ended(self, child: "Child") -> None:
        """Its process has ended, or could not be started. Called once."""
        ...


class Child(asyncio.Protocol):
    """One process, from ``launch`` to ``child_ended``.

    ``post`` receives one ExecutionFinished for each request, at the latest when the child ends. A
    result removes its request from ``in_flight``, so a second one violates the protocol. A CANCEL
    may cross with the RESULT of its request; the child ignores it then.
    """

    def __init__(
        self,
        program: Mapping[str, str | None],
        grace: float,
        loop: asyncio.AbstractEventLoop,
        owner: ChildOwner,
        post: Callable[[ExecutionFinished | FunctionMisbehaved], None],
        observe: Callable[[ErrorOccurred], None],
    ) -> None:
        self.in_flight: set[str] = set()
        self.executions = 0
        """Requests that it was given."""
        self.ready = False
        """It has loaded its apps. Stays set when it has ended, unless it was refused."""
        self.stopping = False
        """Its end was asked for, so it is not a death."""
        self.writable = True
        """It reads what is written to it."""
        self.pid = 0
        """0 until it has started."""
        self._program = program
        self._grace = grace
        self._loop = loop
        self._owner = owner
        self._post = post
        self._observe = observe
        self._reports: Reports | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket
        self._transport: asyncio.Transport
        self._reader = frames.FrameReader(frames.MAX_RESULT_BYTES)
        self._unsent: list[bytes] = []
        self._cancelled: set[str] = set()
        """Requests in flight that it was asked to cancel."""
        self._notices = 0
        self._failure: str | None = None
        self._exit_code: int | None = None
        self._closed = False
        self._timers: list[asyncio.TimerHandle] = []

    async def launch(self, ready_timeout: float) -> None:
        """Start the process. ``child_ended`` follows, also when it cannot be started."""
        try:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            self._socket = ours
            keep_from_forks(self, ours)
            with theirs:
                reports = self._reports = Reports(self._loop, self._observe)
                transport, _ = await self._loop.create_unix_connection(lambda: self, sock=ours)
                try:
                    process = self._process = spawn(
                        self._program, self._grace, theirs, reports.theirs
                    )
                    reports.theirs.close()
                    self.pid = process.pid
                    waiting = threading.Thread(target=self._wait_for_exit, args=(process,))
                    waiting.daemon = True
                    waiting.start()
                except (OSError, RuntimeError):
                    transport.abort()
                    raise
        except (OSError, RuntimeError) as error:
            self.stopping = True
            self._failure = f"could not be started: {error}"
            if self._process is not None:
                # The system has no thread left.
                self._failure += ", which waits for the process; raise the limit"
                self._process.kill()
                self._process.wait()  # it has done nothing yet, and SIGKILL cannot be refused
            self._close_reports()
            self._owner.child_ended(self)
        else:
            self._later(ready_timeout, self._check_ready, ready_timeout)

    def _check_ready(self, after: float) -> None:
        if not self.ready:
            self.kill(f"was killed because it was not ready after {after:g} s")

    # --- what the owner asks for -----------------------------------------------------------

    def run(self, request: pb.GatewayExecutorRequestData) -> None:
        """Takes effect with ``flush``."""
        self.executions += 1
        self.in_flight.add(request.request_id)
        self._unsent.append(frames.frame(frames.RUN, request.SerializeToString()))

    def cancel(self, request_id: str) -> None:
        """Have it cancel the function; CANCELLED or RESULT follows."""
        self._cancelled.add(request_id)
        self._unsent.append(frames.frame(frames.CANCEL, request_id.encode()))
        self.flush()

    def flush(self) -> None:
        """Write what the batch adds up to, in one call."""
        if self._unsent and not self._closed:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def stop(self) -> None:
        """Have it cancel what runs, and end; by force if it does not."""
        if self.stopping:
            return
        self.stopping = True
        grace = self._grace + _TERM_GRACE
        if self._process is not None:
            self._later(grace, self._process.terminate)
        self._later(grace + _TERM_GRACE, self.kill)
        if not self.ready:
            self.kill()  # it runs nothing yet, and may be in a long import
        elif not self._closed:
            self.flush()
            self._transport.write_eof()

    def refuse(self, why: str) -> None:
        """End a child that is ready, but of no use."""
        self.ready = False
        self.kill(why)

    def kill(self, why: str | None = None) -> None:
        """``why`` replaces what the exit code would say."""
        self._failure = why or self._failure
        self.writable = False
        if self._process is not None:
            self._process.kill()

    def how_it_ended(self) -> str:
        """Words that start with a verb."""
        return self._failure or describe_exit(self._exit_code)

    # --- what it sends -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: called by ``launch``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio: act on the frames, and let the owner settle once after all of them."""
        try:
            for kind, body in self._reader.feed(data):
                self._receive(kind, body)
        except frames.MalformedFrame as error:
            self.kill(f"was killed because it sent {error}")
            self._transport.abort()
        else:
            self._owner.child_settled(self)

    def _receive(self, kind: int, body: bytes) -> None:
        match kind:
            case frames.RESULT | frames.CANCELLED:
                finished = frames.finished_from(kind, body)
                request_id = finished.request_id
                if request_id not in self.in_flight:
                    raise frames.MalformedFrame("a result that nobody waits for")
                asked = self.stopping or request_id in self._cancelled
                if finished.result is None and not asked:
                    # A request that nobody asked to cancel is answered, not dropped.
                    finished = ExecutionFinished(request_id, _CANCELLED_UNASKED)
                self.in_flight.discard(request_id)
                self._cancelled.discard(request_id)
                self._post(finished)
            case frames.NOTICE if self.ready:
                self._notices += 1
                if self._notices > _MOST_NOTICES * (self.executions + 1):
                    raise frames.MalformedFrame(f"{self._notices} notices")
                self._post(frames.notice_from(body))
            case frames.READY if not self.ready:
                functions = frames.ready_functions(body)
                self.ready = True
                self._owner.child_ready(self, functions)
            case frames.FAILED if not self.ready:
                text = clean(body.decode(errors="replace"), _LONGEST_FAILURE)
                self._failure = f"failed: {text}"
            case _:
                raise frames.MalformedFrame(f"a frame of kind {kind} out of turn")

    def pause_writing(self) -> None:
        """asyncio: the child reads more slowly than this process writes."""
        self.writable = False

    def resume_writing(self) -> None:
        """asyncio: the child has caught up."""
        self.writable = True
        self._owner.child_settled(self)

    # --- its end ---------------------------------------------------------------------------

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the socket is closed, by either side."""
        self._closed = True
        self.writable = False
        if error is not None:
            # A failed write ends the transport, whatever the child had written before it died.
            # There is a limit: a process that the child forked may write faster than this reads.
            with contextlib.suppress(OSError):
                for _ in range(_LAST_READS):
                    data = self._socket.recv(2**16)
                    if not data or self._failure is not None:
                        break
                    self.data_received(data)
        if not self.stopping:
            self._later(_LAST_WORDS, self.kill)
        self._check_end()

    def _wait_for_exit(self, process: "subprocess.Popen[bytes]") -> None:
        """The only method that does not run on the I/O loop."""
        code = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the executor stopped
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
        self._close_reports()
        result = None
        if not self.stopping:
            text = f"the process that ran this function {self.how_it_ended()}"
            result = error_result("child_process_died", text)
        for request_id in self.in_flight:
            self._post(ExecutionFinished(request_id, result))
        self._owner.child_ended(self)

    def _close_reports(self) -> None:
        if self._reports is not None:
            self._reports.close()

    def _later(self, delay: float, action: Callable[..., object], *arguments: object) -> None:
        self._timers.append(self._loop.call_later(delay, action, *arguments))
