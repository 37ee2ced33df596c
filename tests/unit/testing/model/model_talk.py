"""ModelTalk: a GatewayModel and workers that speak to it, message by message."""

from inngest_connect.core.wire.messages import envelope, request_ack
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.actions import Action, CloseConnection, RequestEnded, SendTo
from inngest_connect.testing.model.gateway import GatewayModel
from inngest_connect.testing.model.settings import GatewaySettings
from inngest_connect.testing.model.ulid import make_ulid

K = pb.GatewayMessageType


def connect_data(**changes: object) -> pb.WorkerConnectRequestData:
    fields: dict[str, object] = {
        "connection_id": make_ulid(1.0, lambda _: 1),
        "instance_id": "i",
        "auth_data": pb.AuthData(session_token="t"),
        "capabilities": b"{}",
        "apps": [pb.AppConfiguration(app_name="app", functions=b'[{"id":"app-fn"}]')],
        "worker_manual_readiness_ack": True,
    }
    return pb.WorkerConnectRequestData(**{**fields, **changes})  # type: ignore[arg-type]


class Talk:
    """One model and its workers."""

    def __init__(self, **settings: object) -> None:
        self.bits = iter(range(1, 10_000))
        self.model = GatewayModel(
            GatewaySettings(**settings),  # type: ignore[arg-type]
            lambda _: next(self.bits),
        )
        self.now = 100.0

    def opens(self, number: int = 1, gateway: str = "g") -> list[Action]:
        return self.model.opened(number, gateway, self.now)

    def sends(self, kind: int, payload: bytes = b"", number: int = 1) -> list[Action]:
        data = envelope(kind, payload)  # type: ignore[arg-type]
        return self.model.received(number, data, self.now)

    def ready(self, number: int = 1, gateway: str = "g", **changes: object) -> "Talk":
        self.opens(number, gateway)
        self.sends(K.WORKER_CONNECT, connect_data(**changes).SerializeToString(), number)
        self.sends(K.WORKER_READY, b"", number)
        return self

    def dispatch(self) -> tuple[str, list[Action]]:
        message = pb.GatewayExecutorRequestData(app_name="app", function_slug="app-fn")
        return self.model.dispatch(message, self.now)

    def acks(self, request_id: str, number: int = 1) -> list[Action]:
        ack = request_ack(pb.GatewayExecutorRequestData(request_id=request_id))
        return self.model.received(number, ack, self.now)

    def extends(self, request_id: str, lease_id: str, number: int = 1) -> str | None:
        data = pb.WorkerRequestExtendLeaseData(request_id=request_id, lease_id=lease_id)
        (answer,) = self.sends(K.WORKER_REQUEST_EXTEND_LEASE, data.SerializeToString(), number)
        assert isinstance(answer, SendTo)
        message = pb.ConnectMessage.FromString(answer.data)
        ack = pb.WorkerRequestExtendLeaseAckData.FromString(message.payload)
        return ack.new_lease_id if ack.HasField("new_lease_id") else None

    def lease(self, request_id: str) -> str:
        return self.model.requests[request_id].lease_id


def kinds(actions: list[Action]) -> list[str]:
    return [
        K.Name(pb.ConnectMessage.FromString(a.data).kind) for a in actions if isinstance(a, SendTo)
    ]


def closes(actions: list[Action]) -> list[tuple[int, str]]:
    return [(a.code, a.reason) for a in actions if isinstance(a, CloseConnection)]


def failures(actions: list[Action]) -> list[str]:
    return [a.failure for a in actions if isinstance(a, RequestEnded)]


def reply_to(request_id: str, body: bytes = b"1") -> bytes:
    return pb.SDKResponse(request_id=request_id, body=body).SerializeToString()
