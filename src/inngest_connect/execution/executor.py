"""The interface behind which user functions run, and how an executor is created.

Two event loops take part. The I/O loop has the connection; the application's event loop is the one
that ``start()`` was awaited on, where functions run unless they run in child processes. With
``isolation="none"`` the two are one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ..core.events import Event
from ..core.inputs import AbortRequested, ExecutionFinished, FunctionMisbehaved
from ..core.wire.messages import ExecutionResult
from ..core.wire.user_text import has_method, shown_error, shown_value
from ..errors import ConfigurationError, ConnectError
from ..observability.debug_state import ChildProcess
from ..options import ExecutionContext
from ..protocol import connect_pb2 as pb

LOOP_CLOSED: Final = "the event loop that start() ran on is closed, so no function can run"

RunRequest = Callable[[pb.GatewayExecutorRequestData], Awaitable[ExecutionResult]]
"""Runs one request to its result; the SDK adapter provides it."""


class Executor(Protocol):
    """Runs requests, and posts exactly one ExecutionFinished for each.

    ``start`` is awaited on the I/O loop, before any request. ``stop`` is awaited on the I/O loop
    after the last one, and then ``wait_stopped`` on the application's event loop. The other methods
    are called on the I/O loop, unless they say otherwise, and do not block.
    """

    async def start(self) -> None:
        """Prepare to run functions; may be cancelled.

        Raises ConfigurationError when they cannot run.
        """
        ...

    def submit(self, request: pb.GatewayExecutorRequestData) -> None:
        """Run it, after the next ``flush``."""
        ...

    def flush(self) -> None:
        """Begin with what was submitted: the batch is complete."""
        ...

    def cancel(self, request_id: str) -> None:
        """Stop the function if possible. One that runs in a thread runs to its end."""
        ...

    def failure(self) -> str | None:
        """Why functions can no longer run; None while they can."""
        ...

    def child_processes(self) -> tuple[ChildProcess, ...]:
        """The processes that functions run in, if they have some. From any thread."""
        ...

    async def stop(self) -> None:
        """Cancel what runs on the I/O loop or in other processes, and leave nothing behind.

        Raises the ConnectError behind ``failure`` if ``start()`` is to raise it.
        """
        ...

    async def wait_stopped(self, timeout: float) -> None:
        """Cancel what runs on the application's event loop and give it ``timeout`` seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPorts:
    """What an executor is connected to."""

    loop: asyncio.AbstractEventLoop
    """The application's event loop."""
    run_request: RunRequest
    """Called on the application's event loop, like ``can_cancel``."""
    can_cancel: Callable[[pb.GatewayExecutorRequestData], bool]
    post: Callable[[ExecutionFinished | FunctionMisbehaved | AbortRequested], None]
    """Takes what happened; safe to call from any thread."""
    observe: Callable[[Event], None]
    """Publishes what happens to the executor itself; for the I/O loop."""
    functions: Mapping[str, frozenset[str]]
    """App id to the slugs that requests may name."""
    execution_context: ExecutionContext | None = None
    """The option. ``run_request`` enters it, so it is for executors that do not call that."""


class WaitingRequests(deque[pb.GatewayExecutorRequestData]):
    """Requests that an executor has accepted and not started, in order."""

    def __init__(self, post: Callable[[ExecutionFinished], None]) -> None:
        super().__init__()
        self._post = post

    def cancel(self, request_id: str | None = None) -> None:
        """Have this request, if it waits here, or all of them end without a start."""
        for request in tuple(self):
            if request_id in (None, request.request_id):
                self.remove(request)
                self._post(ExecutionFinished(request.request_id, None))


ExecutorFactory = Callable[[ExecutorPorts], Executor]
"""``start()`` calls it on the application's event loop."""

_METHODS: Final = (
    "start", "submit", "flush", "cancel", "failure", "child_processes", "stop", "wait_stopped",
)  # fmt: skip


def create_executor(factory: ExecutorFactory, ports: ExecutorPorts) -> Executor:
    """Raises ConfigurationError when ``factory`` does not create one.

    A user can mean another kind of executor, or forget to call ``process_executor``.
    """
    remedy = "pass process_executor(...), or leave executor out"
    try:
        executor = factory(ports)
    except ConnectError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"executor is {shown_value(factory)}, which raised {shown_error(error)}; {remedy}"
        ) from error
    if not all(has_method(executor, name) for name in _METHODS):
        raise ConfigurationError(
            f"executor is {shown_value(factory)}, which returned {shown_value(executor)}; {remedy}"
        )
    return executor
