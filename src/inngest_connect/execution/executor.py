"""The interface behind which user functions run (Strategy), and how one is chosen."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ..core.events import Event
from ..core.inputs import ExecutionFinished, FunctionMisbehaved
from ..core.wire.messages import ExecutionResult
from ..core.wire.user_text import has_method, shown_error, shown_value
from ..errors import ConfigurationError, ConnectError
from ..protocol import connect_pb2 as pb

LOOP_GONE: Final = "the event loop that start() ran on is closed, so no function can run"

RunRequest = Callable[[pb.GatewayExecutorRequestData], Awaitable[ExecutionResult]]
"""Runs one request to its result; given by the SDK adapter."""

Report = Callable[[ExecutionFinished], None]
"""Takes the end of one execution; safe to call from any thread."""


class Executor(Protocol):
    """Runs requests.

    Life: ``start`` on the I/O loop, then any number of requests, ``stop`` on the I/O loop, and at
    last ``wait_stopped`` on the caller's loop. What is no coroutine is called on the I/O loop and
    returns at once.
    """

    @property
    def running(self) -> int:
        """Requests that have not ended, waiting and cancelled ones included."""
        ...

    async def start(self) -> None:
        """Get ready. Raises ConfigurationError when functions could not run; may be cancelled."""
        ...

    def submit(self, request: pb.GatewayExecutorRequestData) -> None:
        """Run it, after the next ``flush``; exactly one ExecutionFinished is reported for each."""
        ...

    def flush(self) -> None:
        """All that came together was submitted."""
        ...

    def cancel(self, request_id: str) -> None:
        """Stop it if that is possible. A function in a thread runs to its end."""
        ...

    def gone(self) -> str | None:
        """Why functions can no longer run, None while they can."""
        ...

    async def stop(self) -> None:
        """The I/O loop ends: cancel what runs there, and leave nothing behind.

        Raises the ConnectError that made the executor ``gone``, if the caller has to hear of it.
        """
        ...

    async def wait_stopped(self, timeout: float) -> None:
        """Cancel what runs on the caller's loop and give it ``timeout`` seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPorts:
    """What an executor is connected to."""

    loop: asyncio.AbstractEventLoop
    """The caller's."""
    run_request: RunRequest
    """For the caller's loop; as is ``can_cancel``."""
    can_cancel: Callable[[pb.GatewayExecutorRequestData], bool]
    report: Report
    on_loop_gone: Callable[[], None]
    """Called when the caller's loop turns out to be closed."""
    observe: Callable[[Event], None]
    """Tells users what happens to the executor; for the I/O loop."""
    functions: Mapping[str, frozenset[str]]
    """App id to the slugs that requests may name."""
    misbehaved: Callable[[FunctionMisbehaved], None] = lambda _: None
    """Takes what user code did beside its own run; safe to call from any thread."""


ExecutorFactory = Callable[[ExecutorPorts], Executor]
"""Called on the caller's loop, by ``start()``."""

_METHODS: Final = ("start", "submit", "flush", "cancel", "gone", "stop", "wait_stopped")


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
