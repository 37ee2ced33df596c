"""A lean gateway that keeps a number of requests in flight on its connections, and times them.

It does not model a server: it accepts what a worker sends, answers what has to be answered, and
spends as little as it can, so that the worker is what is measured.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import picows

from inngest_connect.core.wire.messages import envelope
from inngest_connect.protocol import SUBPROTOCOL
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer, executor_request
from inngest_connect.testing.model.ulid import make_ulid

K = pb.GatewayMessageType
_ACK, _REPLY, _REPLY_ACK = K.WORKER_REQUEST_ACK, K.WORKER_REPLY, K.WORKER_REPLY_ACK
_EXTEND, _HEARTBEAT, _REQUEST = (
    K.WORKER_REQUEST_EXTEND_LEASE,
    K.WORKER_HEARTBEAT,
    K.GATEWAY_EXECUTOR_REQUEST,
)
_NOT_COMPLETED, _DONE = pb.SDKResponseStatus.NOT_COMPLETED, pb.SDKResponseStatus.DONE
_HEARTBEAT_ANSWER = envelope(K.GATEWAY_HEARTBEAT)
_LEASE = make_ulid(2_000_000_000.0, lambda bits: 1)
_MAX_FRAME = 64 * 1024 * 1024


@dataclass(slots=True)
class Sample:
    """What was measured in one window. Seconds; ``latencies`` from request to reply."""

    requests: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    acknowledgements: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class Connection(picows.WSListener):
    """One worker's socket."""

    def __init__(self, gateway: "BenchGateway") -> None:
        self._gateway = gateway
        self.transport: picows.WSTransport | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport
        self.send(b"")

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.send(picows.WSMsgType.BINARY, data)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()
            return
        message = pb.ConnectMessage.FromString(frame.get_payload_as_bytes())
        self._gateway.received(self, message)


class BenchGateway:
    """``async with BenchGateway() as gateway``; ``measure`` drives the connected workers."""

    def __init__(self, extend_lease_interval: str = "30s") -> None:
        self._extend = extend_lease_interval
        self.http = MockHTTPServer()
        self.ready: list[Connection] = []
        self.acknowledged = 0
        self.payload = b""
        self._server: asyncio.Server | None = None
        self._sent: dict[str, float] = {}
        self._memos: dict[str, dict[str, Any]] = {}
        self._last = 0
        self._parked = 0
        self._first_wave = ""
        self._sample = Sample()
        self._app = self._slug = ""
        self._event: dict[str, Any] = {}
        self._wanted = 0
        self._until = 0.0
        self._done: asyncio.Future[None] | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "BenchGateway":
        await self.http.start()
        self._server = await picows.ws_create_server(
            self._accept, "127.0.0.1", 0, max_frame_size=_MAX_FRAME
        )
        port = self._server.sockets[0].getsockname()[1]
        self.http.add_gateway("bench", f"ws://127.0.0.1:{port}/v0/connect")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.http.stop()

    def _accept(self, request: picows.WSUpgradeRequest) -> Any:
        headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
        response = picows.WSUpgradeResponse.create_101_response(extra_headers=headers)
        return picows.WSUpgradeResponseWithListener(response, Connection(self))

    async def wait_for_worker(self, count: int = 1) -> None:
        while len(self.ready) < count:
            self._changed.clear()
            await self._changed.wait()

    async def wait_for_acknowledgements(self, count: int) -> None:
        while self.acknowledged < count:
            self._changed.clear()
            await self._changed.wait()

    # --- the protocol ------------------------------------------------------------------------

    def received(self, connection: Connection, message: pb.ConnectMessage) -> None:
        kind = message.kind
        if kind == _REPLY:
            self._replied(connection, pb.SDKResponse.FromString(message.payload))
        elif kind == _ACK:
            self.acknowledged += 1
            self._changed.set()
            request_id = pb.WorkerReplyAckData.FromString(message.payload).request_id
            sent = self._sent.get(request_id)
            if sent is not None and request_id > self._first_wave:
                self._sample.acknowledgements.append(time.perf_counter() - sent)
        elif kind == _HEARTBEAT:
            connection.send(_HEARTBEAT_ANSWER)
        elif kind == _EXTEND:
            data = pb.WorkerRequestExtendLeaseData.FromString(message.payload)
            ack = pb.WorkerRequestExtendLeaseAckData(
                request_id=data.request_id, new_lease_id=data.lease_id
            )
            connection.send(envelope(K.WORKER_REQUEST_EXTEND_LEASE_ACK, ack.SerializeToString()))
        elif kind == K.WORKER_CONNECT:
            self._introduced(connection, pb.WorkerConnectRequestData.FromString(message.payload))
        elif kind == K.WORKER_READY:
            self._ready(connection)

    def _introduced(self, connection: Connection, worker: pb.WorkerConnectRequestData) -> None:
        ready = pb.GatewayConnectionReadyData(
            heartbeat_interval="10s", extend_lease_interval=self._extend, status_interval="0s"
        )
        connection.send(envelope(K.GATEWAY_CONNECTION_READY, ready.SerializeToString()))
        if not worker.worker_manual_readiness_ack:
            self._ready(connection)

    def _ready(self, connection: Connection) -> None:
        self.ready.append(connection)
        self._changed.set()

    def _replied(self, connection: Connection, reply: pb.SDKResponse) -> None:
        request_id = reply.request_id
        sent = self._sent.pop(request_id, None)
        if sent is None:
            return
        now = time.perf_counter()
        self._sample.requests += 1
        if request_id > self._first_wave:
            self._sample.latencies.append(now - sent)
        ack = pb.WorkerReplyAckData(request_id=request_id).SerializeToString()
        connection.send(envelope(_REPLY_ACK, ack))
        steps = self._memos.pop(request_id, {})
        if reply.status == _NOT_COMPLETED:
            for opcode in json.loads(reply.body):
                steps[opcode["id"]] = {"data": opcode.get("data")}
        elif reply.status != _DONE:
            raise RuntimeError(f"a function failed: {reply.body!r}")
        else:
            steps = {}
        if steps or (self._wanted > 0 and now < self._until):
            self._call(connection, steps)
        elif len(self._sent) == self._parked and self._done and not self._done.done():
            self._done.set_result(None)

    def _call(self, connection: Connection, steps: dict[str, Any]) -> None:
        self._last += 1
        self._wanted -= 1
        request_id = f"r{self._last:025d}"
        if steps:
            call = executor_request(
                self._app, self._slug, self._event, steps=steps, lease_id=_LEASE
            )
            call.request_id = request_id
            data = call.SerializeToString()
            self._memos[request_id] = steps
        else:
            # request_id is the first field: the rest is the same for every call.
            head = pb.WorkerReplyAckData(request_id=request_id).SerializeToString()
            data = head + self.payload
        self._sent[request_id] = time.perf_counter()
        connection.send(envelope(_REQUEST, data))

    # --- measuring ---------------------------------------------------------------------------

    def call(self, slug: str, count: int = 1, payload_bytes: int = 200) -> None:
        """Send ``count`` requests of a function that never returns."""
        self._prepare(slug, payload_bytes)
        self._parked += count
        for number in range(count):
            self._call(self.ready[number % len(self.ready)], {})

    async def measure(
        self,
        slug: str,
        *,
        in_flight: int,
        seconds: float = 3600.0,
        requests: int = 1_000_000_000,
        payload_bytes: int = 200,
    ) -> Sample:
        """Call a function for ``seconds`` or ``requests`` times, ``in_flight`` at a time.

        Ends when every reply has arrived, so slow replies count with their full time. The requests
        that are sent together at the beginning are served, but their times would only measure how
        fast this side can send: they are left out of the latencies.
        """
        self._prepare(slug, payload_bytes)
        self._sample = Sample()
        self._done = asyncio.get_running_loop().create_future()
        begun = time.perf_counter()
        self._wanted, self._until = requests, begun + seconds
        self._first_wave = f"r{self._last + in_flight:025d}"
        for number in range(in_flight):
            self._call(self.ready[number % len(self.ready)], {})
        await self._done
        self._sample.seconds = time.perf_counter() - begun
        return self._sample

    def _prepare(self, slug: str, payload_bytes: int) -> None:
        self._app, self._slug = slug.partition("-")[0], slug
        self._event = {"name": "bench", "data": {"x": "x" * payload_bytes}}
        call = executor_request(self._app, slug, self._event, lease_id=_LEASE)
        self.payload = call.SerializeToString()
