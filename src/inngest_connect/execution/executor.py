"""The interface behind which user functions run (Strategy)."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from ..core.events import ExecutionFinished
from ..core.messages import ExecutionResult
from ..protocol import connect_pb2 as pb

RunRequest = Callable[[pb.GatewayExecutorRequestData], Awaitable[ExecutionResult]]
"""Runs one request to its result; given by the SDK adapter."""

Report = Callable[[ExecutionFinished], None]
"""Takes the end of one execution; safe to call from any thread."""


class Executor(Protocol):
    """Runs requests. The methods are called on the I/O loop and return at once."""

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
