"""ContractWorker: a worker without rules, which sends what it is told to a gateway of any kind."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
import picows

from inngest_connect.core.wire.messages import envelope
from inngest_connect.protocol import FLUSH_PATH, START_PATH, SUBPROTOCOL
from inngest_connect.protocol import connect_pb2 as pb

SLUG = "contract-fn"
EVENT = "contract/happened"
_LIMIT = 30.0
"""Seconds within which a gateway has to do what is expected of it."""
_FUNCTION = {
    "id": SLUG,
    "name": "fn",
    "triggers": [{"event": EVENT}],
    "steps": {
        "step": {
            "id": "step",
            "name": "step",
            "runtime": {"type": "ws", "url": f"wss://connect?fnId={SLUG}&stepId=step"},
            "retries": {"attempts": 0},
        }
    },
}


@dataclass(frozen=True, slots=True)
class Closed:
    """The close frame of the gateway; 1006 without one."""

    code: int
    reason: str


class _Listener(picows.WSListener):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[pb.ConnectMessage | Closed] = asyncio.Queue()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.arrived.put_nowait(pb.ConnectMessage.FromString(payload))
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            closed = Closed(int.from_bytes(payload[:2]), payload[2:].decode())
            self.arrived.put_nowait(closed)
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self.arrived.put_nowait(Closed(1006, ""))


class ContractWorker:
    """One connection. ``async with ContractWorker(origin) as worker``."""

    def __init__(self, origin: str) -> None:
        self._api = httpx.AsyncClient(base_url=origin, timeout=_LIMIT)
        self._started = pb.StartResponse()
        self._listener = _Listener()
        self._transport: Any = None

    async def __aenter__(self) -> "ContractWorker":
        answer = await self._api.post(START_PATH, content=b"")
        assert answer.status_code == 200
        self._started = pb.StartResponse.FromString(answer.content)
        self._transport, _ = await picows.ws_connect(
            lambda: self._listener,
            self._started.gateway_endpoint,
            extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.disconnect(False)
        await self._transport.wait_disconnected()
        await self._api.aclose()

    def introduction(self, **changes: Any) -> bytes:
        """WORKER_CONNECT for the session of this connection, with some fields changed."""
        fields: dict[str, Any] = {
            "connection_id": self._started.connection_id,
            "instance_id": "contract",
            "auth_data": pb.AuthData(
                session_token=self._started.session_token, sync_token=self._started.sync_token
            ),
            "capabilities": b'{"connect":"v1"}',
            "apps": [
                pb.AppConfiguration(app_name="contract", functions=json.dumps([_FUNCTION]).encode())
            ],
            "worker_manual_readiness_ack": True,
            "sdk_language": "py",
            "sdk_version": "0",
            "framework": "connect",
        }
        return pb.WorkerConnectRequestData(**{**fields, **changes}).SerializeToString()

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Write one message."""
        self.send_bytes(envelope(kind, payload))  # type: ignore[arg-type]

    def send_bytes(self, data: bytes) -> None:
        """Write one binary message that need not be a ConnectMessage."""
        self._transport.send(picows.WSMsgType.BINARY, data)

    async def receives(self, kind: int) -> bytes:
        """Wait for the next message, which has to be of this kind; returns its payload."""
        arrived = await asyncio.wait_for(self._listener.arrived.get(), _LIMIT)
        assert isinstance(arrived, pb.ConnectMessage), arrived
        assert pb.GatewayMessageType.Name(arrived.kind) == pb.GatewayMessageType.Name(kind)
        return arrived.payload

    async def is_closed(self) -> Closed:
        """Wait for the end of the connection; messages before it are skipped."""
        while True:
            arrived = await asyncio.wait_for(self._listener.arrived.get(), _LIMIT)
            if isinstance(arrived, Closed):
                return arrived

    async def becomes_ready(self) -> "ContractWorker":
        """Do what a worker does until requests can be routed to it."""
        await self.receives(pb.GATEWAY_HELLO)
        self.send(pb.WORKER_CONNECT, self.introduction())
        await self.receives(pb.GATEWAY_CONNECTION_READY)
        self.send(pb.WORKER_READY)
        self.send(pb.WORKER_HEARTBEAT)
        await self.receives(pb.GATEWAY_HEARTBEAT)
        return self

    async def triggers(self) -> None:
        """Send the event that runs its function."""
        answer = await self._api.post("/e/contract", json={"name": EVENT, "data": {}})
        assert answer.status_code == 200

    async def flushes(self, body: bytes) -> httpx.Response:
        """Send a reply over HTTP."""
        return await self._api.post(FLUSH_PATH, content=body)
