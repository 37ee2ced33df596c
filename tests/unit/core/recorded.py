"""A Conversation that writes itself down, so that a whole scenario can be read and compared."""

from typing import Any

from google.protobuf.message import Message

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.observability.debug_state import snapshot
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import Conversation, K

_PAYLOADS: dict[int, type[Message]] = {
    K.WORKER_CONNECT: pb.WorkerConnectRequestData,
    K.GATEWAY_CONNECTION_READY: pb.GatewayConnectionReadyData,
    K.GATEWAY_EXECUTOR_REQUEST: pb.GatewayExecutorRequestData,
    K.WORKER_REQUEST_ACK: pb.WorkerRequestAckData,
    K.WORKER_REPLY: pb.SDKResponse,
    K.WORKER_REPLY_ACK: pb.WorkerReplyAckData,
    K.WORKER_REQUEST_EXTEND_LEASE: pb.WorkerRequestExtendLeaseData,
    K.WORKER_REQUEST_EXTEND_LEASE_ACK: pb.WorkerRequestExtendLeaseAckData,
    K.SYNC_FAILED: pb.SystemError,
    K.WORKER_STATUS: pb.WorkerStatusData,
}


class Recorded(Conversation):
    """``lines`` is the transcript: an event, and indented what the core wants done about it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lines: list[str] = []
        self._begun = self.now

    def happens(self, event: inputs.Input) -> list[do.Command]:
        position = len(self.lines)
        commands = super().happens(event)
        if not isinstance(event, inputs.Tick) or commands:
            block = [f"{self.now - self._begun:8.2f}  {_shown(event)}"]
            block += [f"          -> {_shown(command)}" for command in commands]
            self.lines[position:position] = block
        return commands

    def chapter(self, title: str) -> None:
        self.lines += ["", f"# {title}"]

    def ending(self) -> None:
        """Append what the worker would tell about itself now."""
        core = self.core
        self.lines += ["", "# afterwards"]
        for change in core.machine.history:
            states = f"{change.previous.value} -> {change.state.value}"
            self.lines.append(f"{change.at - self._begun:8.2f}  {states} by {change.event.value}")
        state = snapshot(core, self.now)
        for name in type(state).__slots__:
            value = getattr(state, name)
            if name == "counters":
                value = dict(sorted(value.items()))
            if name != "history":
                self.lines.append(f"{name}: {value}")
        self.lines.append(f"replies lost: {core.delivery.lost}, flushed: {core.delivery.flushed}")
        self.lines.append(f"unfinished: {core.requests.unfinished}, leases: {list(core.leases)}")

    def text(self) -> str:
        return "\n".join(self.lines).strip() + "\n"


def _shown(thing: Any) -> str:
    """A command or event in one line, messages decoded."""
    if isinstance(thing, do.Execute):
        return f"Execute({thing.request.request_id})"
    if isinstance(thing, do.Flush):
        return f"Flush(key={thing.key}) {_message(pb.SDKResponse, thing.payload)}"
    if isinstance(thing, inputs.ExecutionFinished):
        return f"{thing!r} {thing.result!r}"
    data = getattr(thing, "data", None)
    return repr(thing) if data is None else f"{thing!r} {_decoded(data)}"


def _decoded(data: bytes) -> str:
    try:
        message = pb.ConnectMessage.FromString(data)
        name = K.Name(pb.GatewayMessageType.ValueType(message.kind))
        kind = _PAYLOADS.get(message.kind)
        return name if kind is None else f"{name} {_message(kind, message.payload)}"
    except Exception:
        return repr(data)


def _message(kind: type[Message], payload: bytes) -> str:
    return _fields(kind.FromString(payload))


def _fields(message: Message) -> str:
    """The fields that are set, in the order of their numbers."""
    shown = []
    for field, value in message.ListFields():
        if isinstance(value, Message):
            text = _fields(value)
        elif isinstance(value, str | bytes | int):
            text = repr(value)
        else:
            text = ", ".join(_fields(v) if isinstance(v, Message) else repr(v) for v in value)
        shown.append(f"{field.name}={text}")
    return "{" + ", ".join(shown) + "}"
