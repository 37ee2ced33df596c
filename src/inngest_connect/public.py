"""The public names. The package itself has them too, and imports this when one is first used."""

from .apps import ConnectApp
from .connecting import connect
from .connection import WebSocketWorkerConnection
from .core.retry import FixedRetry, RetryStrategy, ScheduleRetry
from .debug_state import DebugState, InFlightRequest
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
from .events import (
    EVENT_NAMES,
    Connected,
    Disconnected,
    Draining,
    ErrorOccurred,
    HeartbeatAnswered,
    LeaseLost,
    Observation,
    Reconnecting,
    ReplyAcknowledged,
    RequestCompleted,
    RequestReceived,
    RequestStarted,
    StateChanged,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketOpened,
)
from .execution.process_executor import process_executor
from .state_machine import ConnectionEvent, ConnectionState, ConnectionStateMachine, StateChange
from .timing import Timing

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
    "FixedRetry",
    "HeartbeatAnswered",
    "InFlightRequest",
    "InvalidTransition",
    "LeaseLost",
    "LocalMistake",
    "NotConnectedError",
    "Observation",
    "PeerFault",
    "Reconnecting",
    "ReplyAcknowledged",
    "RequestCompleted",
    "RequestReceived",
    "RequestStarted",
    "RetryStrategy",
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
]
