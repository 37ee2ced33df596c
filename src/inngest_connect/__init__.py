"""A worker for Inngest Connect: no result is lost silently, and it is never silently dead.

    from inngest_connect import connect

    asyncio.run(connect([(client, functions)]).start())

``__all__`` is the public interface, here and in ``inngest_connect.testing`` and
``inngest_connect.status``. Every other module is private and may change in any release.
"""

from typing import TYPE_CHECKING

from .connection import WebSocketWorkerConnection
from .core.events import (
    Connected,
    Disconnected,
    Draining,
    ErrorOccurred,
    Event,
    FunctionFailed,
    HeartbeatAnswered,
    LeaseLost,
    Observation,
    Reconnecting,
    Recovered,
    ReplyAcknowledged,
    RequestCompleted,
    RequestReceived,
    RequestStarted,
    StateChanged,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketOpened,
)
from .core.retry import FixedRetry, RetryStrategy, ScheduleRetry
from .core.settings import Timing
from .errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    InvalidTransition,
    LocalMistake,
    NotConnectedError,
    PeerFault,
    StartupTimeout,
    UnsupportedSDKError,
    WorkAbandoned,
    WorkerCrashed,
)
from .execution.log_context import RunFilter, run_fields
from .execution.processes.executor import process_executor
from .factory import connect
from .observability.callbacks import EVENT_NAMES
from .observability.debug_state import DebugState, InFlightRequest
from .sdk.apps import ConnectApp
from .state_machine import ConnectionEvent, ConnectionState, ConnectionStateMachine, StateChange

__all__ = [
    "EVENT_NAMES",
    "AuthenticationError",
    "ConfigurationError",
    "ConnectApp",
    "ConnectError",
    "Connected",
    "ConnectionEvent",
    "ConnectionState",
    "ConnectionStateMachine",
    "DebugState",
    "Disconnected",
    "Draining",
    "ErrorOccurred",
    "Event",
    "FixedRetry",
    "FunctionFailed",
    "HeartbeatAnswered",
    "InFlightRequest",
    "InvalidTransition",
    "LeaseLost",
    "LocalMistake",
    "NotConnectedError",
    "Observation",
    "PeerFault",
    "Reconnecting",
    "Recovered",
    "ReplyAcknowledged",
    "RequestCompleted",
    "RequestReceived",
    "RequestStarted",
    "RetryStrategy",
    "RunFilter",
    "ScheduleRetry",
    "StartupTimeout",
    "StateChange",
    "StateChanged",
    "Timing",
    "UnsupportedSDKError",
    "WebSocketClosed",
    "WebSocketFailed",
    "WebSocketOpened",
    "WebSocketWorkerConnection",
    "WorkAbandoned",
    "WorkerCrashed",
    "connect",
    "process_executor",
    "run_fields",
]

__version__: str

if not TYPE_CHECKING:  # for type checkers a misspelled name stays an error

    def __getattr__(name: str) -> str:
        """``__version__`` is read from the installed package, and only when it is asked for."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("inngest-connect")
