"""Timeline: one simulation as human-readable text."""

from dataclasses import fields, is_dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.protocol import connect_pb2 as pb

from .entry import Entry

_K = pb.GatewayMessageType
_LEFT_OUT: Final = frozenset({_K.WORKER_HEARTBEAT, _K.GATEWAY_HEARTBEAT, _K.WORKER_STATUS})
_LONGEST: Final = 200


class Timeline:
    """Pass it to ``Simulation`` as ``note``; heartbeats and empty ticks are left out."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, at: float, who: str, what: Any) -> None:
        """Add a line, if this step is worth one. ``at`` is in virtual seconds."""
        if isinstance(what, inputs.Tick):
            return
        text = _shown(what)
        if text is not None:
            self.lines.append(f"{at:9.3f}  {who:<12}  {text[:_LONGEST]}")

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self.lines)


def _shown(what: Any) -> str | None:
    if isinstance(what, Entry):
        return str(what)
    if isinstance(what, do.Execute):
        return f"Execute {what.request.request_id}"
    data = getattr(what, "data", None)
    if isinstance(data, bytes):
        return _message(what, data)
    if not is_dataclass(what):
        return str(what)
    shown = [
        f"{field.name}={getattr(what, field.name)!r}"
        for field in fields(what)
        if field.repr and getattr(what, field.name) not in (None, "", False)
    ]
    return f"{type(what).__name__} {' '.join(shown)}".rstrip()


def _message(what: Any, data: bytes) -> str | None:
    """The kind of a message and its request; None for a message that is left out."""
    try:
        message = pb.ConnectMessage.FromString(data)
        if message.kind in _LEFT_OUT:
            return None
        kind = _K.Name(pb.GatewayMessageType.ValueType(message.kind))
        # The request id is the first field of every payload that has one.
        about = pb.WorkerReplyAckData.FromString(message.payload).request_id
    except (DecodeError, ValueError):
        kind, about = "malformed", ""
    verb = "receives" if isinstance(what, inputs.MessageReceived) else "sends"
    about = about if len(about) == 26 else ""
    return f"{verb} {kind} on connection {what.generation} {about}".rstrip()
