"""A protocol transcript for tests of WorkerCore: the gateway says, the worker answers.

Time is a number that the test moves. Acknowledgements succeed unless ``broken`` is set, as a shell
would report them; everything else the test decides.
"""

from collections.abc import Callable
from typing import TypeVar

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.drive import drive
from inngest_connect.core.events import Event
from inngest_connect.core.retry import RetryStrategy, ScheduleRetry
from inngest_connect.core.settings import AppIdentity, CoreSettings, WorkerIdentity
from inngest_connect.core.wire.messages import ExecutionResult, envelope
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb

K = pb.GatewayMessageType
LEASE = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
LATER_LEASE = "01ARZ3NDEKTSV4RRFFQ69G5FAW"

CommandType = TypeVar("CommandType")

IDENTITY = WorkerIdentity(
    instance_id="worker-1",
    apps=(
        AppIdentity("app", b"[{}]", frozenset({"app-fn", "app-other"}), "v1"),
        AppIdentity("second", b"[{}]", frozenset({"second-fn"})),
    ),
    capabilities=b"{}",
    sdk_language="py",
    sdk_version="0.5.19",
    framework="connect",
    environment="branch",
    platform="fly",
    cpu_cores=2,
    memory_bytes=1024,
    operating_system="linux",
    started_at=1_700_000_000.0,
    max_worker_concurrency=5,
)


class Conversation:
    """One worker core, its clock, and everything it has asked for."""

    def __init__(
        self,
        retry: RetryStrategy | None = None,
        settings: CoreSettings | None = None,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.core = WorkerCore(
            IDENTITY,
            settings or CoreSettings(api_origin="http://api"),
            retry or ScheduleRetry(),
            chance,
        )
        self.now = 1000.0
        self.log: list[do.Command] = []
        self.broken = False
        self._mark = 0

    # --- driving -----------------------------------------------------------------------------

    def happens(self, event: inputs.Input) -> list[do.Command]:
        """Give the core an event; acknowledgements are reported at once, as a shell does."""
        answered: list[do.Command] = []

        def carry_out(command: do.Command) -> inputs.Input | None:
            answered.append(command)
            if not isinstance(command, do.Acknowledge):
                return None
            if self.broken:
                return inputs.AcknowledgementFailed(command.generation, command.request_id)
            return inputs.AcknowledgementsWritten(command.generation, (command.request_id,))

        drive(self.core, event, self.now, carry_out)
        self.log += answered
        return answered

    def passes(self, seconds: float) -> list[do.Command]:
        """Let time go by, ticking at each deadline on the way."""
        until = self.now + seconds
        answered: list[do.Command] = []
        for _ in range(100_000):
            deadline = self.core.next_deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            answered += self.happens(inputs.Tick())
        else:
            raise AssertionError("the core asks for one deadline after another")
        self.now = until
        return answered

    def gateway_says(
        self, generation: int, kind: pb.GatewayMessageType, payload: bytes = b""
    ) -> list[do.Command]:
        data = b"" if kind == K.GATEWAY_HELLO else envelope(kind, payload)
        return self.happens(inputs.MessageReceived(generation, data))

    # --- whole passages ------------------------------------------------------------------------

    def starts(self) -> None:
        self.happens(inputs.Started())

    def attempt_begins(self) -> list[do.Command]:
        """Let time go by until the attempt that is planned begins."""
        retry_at = self.core.connections.attempts.retry_at
        return self.passes(max(retry_at - self.now, 0.0)) if retry_at is not None else []

    def api_names_gateway(self, generation: int, group: str = "") -> list[do.Command]:
        return self.happens(
            inputs.StartSucceeded(
                generation,
                f"connection-{generation}",
                "ws://gateway",
                group or f"group-{generation}",
                "session-token",
                "sync-token",
            )
        )

    def becomes_ready(
        self, generation: int, heartbeat: str = "10s", extend: str = "30s", status: str = "0s"
    ) -> list[do.Command]:
        """From the beginning of the attempt, once it is planned, to CONNECTION_READY."""
        self.attempt_begins()
        self.api_names_gateway(generation)
        self.happens(inputs.SocketOpened(generation))
        self.gateway_says(generation, K.GATEWAY_HELLO)
        ready = pb.GatewayConnectionReadyData(
            heartbeat_interval=heartbeat, extend_lease_interval=extend, status_interval=status
        )
        return self.gateway_says(generation, K.GATEWAY_CONNECTION_READY, ready.SerializeToString())

    def connected(self) -> "Conversation":
        """A started worker with generation 1 ready."""
        self.starts()
        self.becomes_ready(1)
        return self

    def request(
        self,
        request_id: str,
        generation: int = 1,
        *,
        app: str = "app",
        function: str = "app-fn",
        lease: str = LEASE,
    ) -> list[do.Command]:
        data = pb.GatewayExecutorRequestData(
            request_id=request_id,
            account_id="account",
            env_id="env",
            app_id="app-id",
            app_name=app,
            function_slug=function,
            run_id=f"run-of-{request_id}",
            lease_id=lease,
            system_trace_ctx=b'{"traceparent":"s"}',
            user_trace_ctx=b'{"traceparent":"u"}',
            request_payload=b"{}",
        )
        return self.gateway_says(generation, K.GATEWAY_EXECUTOR_REQUEST, data.SerializeToString())

    def function_returns(self, request_id: str, body: bytes = b'"ok"') -> list[do.Command]:
        result = ExecutionResult(pb.SDKResponseStatus.DONE, body, sdk_version="inngest-py:v0")
        return self.happens(inputs.ExecutionFinished(request_id, result))

    def reply_acked(self, request_id: str, generation: int = 1) -> list[do.Command]:
        payload = pb.WorkerReplyAckData(request_id=request_id).SerializeToString()
        return self.gateway_says(generation, K.WORKER_REPLY_ACK, payload)

    def lease_answer(
        self, request_id: str, new_lease: str | None, generation: int = 1
    ) -> list[do.Command]:
        answer = pb.WorkerRequestExtendLeaseAckData(request_id=request_id, new_lease_id=new_lease)
        return self.gateway_says(
            generation, K.WORKER_REQUEST_EXTEND_LEASE_ACK, answer.SerializeToString()
        )

    def heartbeats_answered_for(self, seconds: float, generation: int = 1) -> list[do.Command]:
        """Let time go by with a gateway that answers each heartbeat at once."""
        until = self.now + seconds
        answered: list[do.Command] = []
        while self.now < until:
            answered += self.passes(min(1.0, until - self.now))
            if self.core.connections.get(generation) is not None:
                answered += self.gateway_says(generation, K.GATEWAY_HEARTBEAT)
        return answered


def only(commands: list[do.Command], kind: type[CommandType]) -> list[CommandType]:
    """Those of ``commands`` that are of one kind."""
    return [command for command in commands if isinstance(command, kind)]


def one(commands: list[do.Command], kind: type[CommandType]) -> CommandType:
    found = only(commands, kind)
    assert len(found) == 1, f"expected one {kind.__name__}, got {commands}"
    return found[0]


def sent(commands: list[do.Command], generation: int | None = None) -> list[str]:
    """The kinds of the messages written, in order, acknowledgements included."""
    kinds = []
    for command in commands:
        if isinstance(command, do.Send | do.Acknowledge) and generation in (
            None,
            command.generation,
        ):
            kinds.append(K.Name(pb.ConnectMessage.FromString(command.data).kind))
    return kinds


def seen(commands: list[do.Command]) -> list[str]:
    """The names of the observations, in order."""
    return [command.name for command in commands if isinstance(command, Event)]


def errors(commands: list[do.Command]) -> list[str]:
    """The kinds of the error observations, in order."""
    from inngest_connect.core.events import ErrorOccurred

    return [command.kind for command in only(commands, ErrorOccurred)]


def payload(command: do.Send) -> bytes:
    return pb.ConnectMessage.FromString(command.data).payload
