"""Runs one scenario with one worker, and turns what its server saw into facts to compare.

A fact is a name and a value, such as ``WORKER_REQUEST_ACK.run_id`` and ``"run"``. The values that
a server makes anew each time are replaced by words.
"""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import inngest.connect
from google.protobuf.message import Message

import inngest_connect
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer, MockWebSocketServer, executor_request
from tests.integration.demo_apps import App, make_app

K = pb.GatewayMessageType
LEASE = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
KEY = "signkey-test-" + "ab" * 32

Facts = dict[str, Any]

_PAYLOADS: dict[int, type[Message]] = {
    K.WORKER_CONNECT: pb.WorkerConnectRequestData,
    K.WORKER_REQUEST_ACK: pb.WorkerRequestAckData,
    K.WORKER_REQUEST_EXTEND_LEASE: pb.WorkerRequestExtendLeaseData,
    K.WORKER_REPLY: pb.SDKResponse,
}
_ABOUT = re.compile(r" of [^.]*(?=\.)")
_OF_THE_CLIENT = (
    "host", "content-length", "user-agent", "accept", "accept-encoding", "connection",
)  # fmt: skip
_NOT_COUNTED = (K.WORKER_HEARTBEAT, K.WORKER_STATUS)
"""How many come depends on the time a test takes."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A worker to be looked at."""

    name: str
    connect: Callable[..., Any]
    options: dict[str, Any]


OFFICIAL = Peer("official", inngest.connect.connect, {})
OURS = Peer("ours", inngest_connect.connect, {})


@dataclass
class Stage:
    """A scripted API and gateway, and one worker."""

    api: MockHTTPServer
    gateway: MockWebSocketServer
    app: App
    worker: Any
    facts: Facts = field(default_factory=dict)

    async def handshake(self, count: int = 1, extend_lease_interval: str = "30s") -> None:
        """The ``count``-th connection, until its first heartbeat."""
        heartbeats = len(self.gateway.get_received_messages(K.WORKER_HEARTBEAT))
        await self.gateway.wait_for_message(K.WORKER_CONNECT, count, timeout=20)
        self.gateway.send_connection_ready(extend_lease_interval=extend_lease_interval)
        await self.gateway.wait_for_message(K.WORKER_HEARTBEAT, heartbeats + 1, timeout=20)
        self.gateway.send_heartbeat()

    def request(self, request_id: str, function: str = "app-echo", app: str = "app") -> None:
        call = executor_request(
            app, function, {"name": "e", "data": {}}, request_id=request_id, lease_id=LEASE
        )
        call.job_id = "job"
        self.gateway.send_executor_request(call)

    async def replied(self, count: int = 1) -> None:
        """Wait for the ``count``-th reply and acknowledge it."""
        message = await self.gateway.wait_for_message(K.WORKER_REPLY, count, timeout=20)
        reply = pb.SDKResponse.FromString(message.payload)
        self.gateway.send_reply_ack(reply.request_id, connection=message.connection)

    def note_state(self, moment: str) -> None:
        self.facts[f"state {moment}"] = self.worker.get_state().value

    def note_about(self, what: str, seconds: float, usual: float) -> None:
        """A duration, as the usual one when it is of that order: a busy machine delays messages."""
        near = usual / 4 <= seconds < 3 * usual + 2
        self.facts[what] = f"about {usual:g} s" if near else f"{seconds:.2f} s"


Scenario = Callable[[Stage], Awaitable[None]]


async def observe(
    peer: Peer, scenario: Scenario, signing_key: str = KEY, fallback: str = ""
) -> Facts:
    """Run ``scenario`` from start to CLOSED and return what the server saw."""
    async with (
        MockHTTPServer(signing_keys=[KEY]) as api,
        MockWebSocketServer(greet=True) as gateway,
    ):
        api.add_gateway(gateway.name, gateway.url)
        variables = {"INNGEST_CONNECT_APP_VERSION": "v1"}
        if fallback:
            variables["INNGEST_SIGNING_KEY_FALLBACK"] = fallback
        with mock.patch.dict(os.environ, variables):
            app = make_app(api.origin, is_production=True, signing_key=signing_key, env="e")
            worker = peer.connect(
                [app.pair], instance_id="instance", shutdown_signals=[], **peer.options
            )
        stage = Stage(api, gateway, app, worker)
        stage.note_state("before start")
        states = states_of(worker)
        started = asyncio.create_task(worker.start())
        try:
            await scenario(stage)
        finally:
            app.seen.release.set()
            await worker.close(wait=True)
            await asyncio.wait([started])
        stage.facts["start() raises"] = started.exception() is not None
        stage.note_state("at the end")
        await gateway.until(lambda: not any(c.is_open for c in gateway.connections))
        if set(states[-2:]) == {
            "CLOSING",
            "CLOSED",
        }:  # the official worker reports these in any order
            states[-2:] = ["CLOSING", "CLOSED"]
        stage.facts["states"] = states
        return {**stage.facts, **_http_facts(api), **_message_facts(gateway)}


def states_of(worker: Any) -> list[str]:
    """A list that gets the name of every state from now on."""
    states: list[str] = []
    if isinstance(worker, inngest_connect.WebSocketWorkerConnection):
        worker.add_event_listener("state_change", lambda change: states.append(change.state.value))
    else:  # as its own tests do
        worker._state.conn_state.on_change(lambda _, state: states.append(state.value))
    return states


def differing(one: Facts, other: Facts) -> set[str]:
    """Names of facts, without the request they are about.

    A message that only one of the two sent is one difference, not one for each of its fields.
    """
    messages = {name.partition(".")[0] for name in one.keys() ^ other.keys()}
    whole = {
        message
        for message in messages
        if _ABOUT.search(message + ".") and (message in one) != (message in other)
    }
    fields = {
        _ABOUT.sub("", name)
        for name in one.keys() | other.keys()
        if one.get(name) != other.get(name) and name.partition(".")[0] not in whole
    }
    return whole | (fields - {"order"}) | _order_differs(one, other)


def _order_differs(one: Facts, other: Facts) -> set[str]:
    """Whether messages of the kinds that both send come in another order."""
    orders = [facts.get("order", []) for facts in (one, other)]
    common = set.intersection(*({_kind(entry) for entry in order} for order in orders))
    same = [[entry for entry in order if _kind(entry) in common] for order in orders]
    lonely = {f"{_kind(e)} is sent" for order in orders for e in order if _kind(e) not in common}
    return lonely | ({"order"} if same[0] != same[1] else set())


def _kind(entry: str) -> str:
    return entry.partition(":")[2]


def _http_facts(api: MockHTTPServer) -> Facts:
    facts: Facts = {}
    for number, request in enumerate(api.get_request_history()):
        name = f"POST {request.path} of {number}"
        headers = dict(request.headers)
        for header in _OF_THE_CLIENT:
            headers.pop(header, None)
        facts[name] = True
        facts[f"{name}.answered"] = request.answered
        facts |= {f"{name}.header {key}": value for key, value in headers.items()}
        if request.path.endswith("/start"):
            facts[f"{name}.exclude_gateways"] = list(request.start_request().exclude_gateways)
        else:
            facts |= field_facts(name, request.sdk_response())
    return facts


def _message_facts(gateway: MockWebSocketServer) -> Facts:
    facts: Facts = {}
    order = [
        f"{gateway.connections.index(m.connection)}:{m.kind_name}"
        for m in gateway.get_received_messages()
        if m.kind not in _NOT_COUNTED
    ]
    facts["order"] = order
    for message in gateway.get_received_messages():
        kind = _PAYLOADS.get(message.kind)
        if kind is None:
            continue
        data = kind.FromString(message.payload)
        about = getattr(data, "request_id", "") or gateway.connections.index(message.connection)
        name = f"{message.kind_name} of {about}"
        if name not in facts:  # of repetitions the first
            facts[name] = True
            facts |= field_facts(name, data)
    for number, headers in enumerate(gateway.upgrade_headers):
        name = f"upgrade of {number}"
        facts[f"{name}.subprotocol"] = headers.get("sec-websocket-protocol")
        facts[f"{name}.extensions"] = headers.get("sec-websocket-extensions")
        facts[f"{name}.origin"] = headers.get("origin")
    for number, connection in enumerate(gateway.connections):
        facts[f"close of {number}.code"] = connection.close_code
        facts[f"close of {number}.reason"] = connection.close_reason
    return facts


def field_facts(prefix: str, message: Message) -> Facts:
    """One fact for each field that is set."""
    facts: Facts = {}
    for each, value in message.ListFields():
        name = f"{prefix}.{each.name}"
        if isinstance(value, Message):
            facts |= field_facts(name, value)
        elif isinstance(value, str | bytes | int):
            facts[name] = _constant(each.name, value)
        else:
            for index, item in enumerate(value):
                facts |= field_facts(f"{name}[{index}]", item)
    return facts


def _constant(name: str, value: Any) -> Any:
    if name in ("connection_id", "session_token", "sync_token", "seconds", "nanos", "mem_bytes"):
        return "as issued"
    if name == "functions":
        return json.loads(value)
    return value
