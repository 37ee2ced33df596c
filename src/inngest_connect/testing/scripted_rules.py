"""ScriptedRules: what a worker must never do, for gateways that follow a script and have no model.

A scripted gateway and its API do not know each other, as the test connects them by an address only.
So the sessions that the mock APIs of this process issue are remembered here.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from ..protocol import connect_pb2 as pb

if TYPE_CHECKING:
    from .mock_connection import MockConnection

_MOST_SESSIONS: Final = 10_000
_sessions: Final[OrderedDict[str, tuple[str, str]]] = OrderedDict()
"""Session and sync token by connection id; the oldest are forgotten."""


def remember_session(connection_id: str, session_token: str, sync_token: str) -> None:
    """A mock API without a GatewayStore issued these tokens."""
    _sessions[connection_id] = session_token, sync_token
    if len(_sessions) > _MOST_SESSIONS:
        _sessions.popitem(last=False)


class ScriptedRules:
    """Checks the messages of all workers of one scripted gateway."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._unacknowledged: dict[str, MockConnection] = {}
        """The connection that each request was first sent to, until it is acknowledged."""

    def sent(self, request_id: str, connection: "MockConnection") -> None:
        """The script sent a request."""
        self._unacknowledged.setdefault(request_id, connection)

    def received(self, connection: "MockConnection", kind: int, payload: bytes) -> None:
        """Note a violation if the worker must not send this message."""
        if kind == pb.WORKER_REQUEST_ACK:
            request_id = pb.WorkerRequestAckData.FromString(payload).request_id
            self._unacknowledged.pop(request_id, None)
        elif kind == pb.WORKER_REPLY:
            request_id = pb.SDKResponse.FromString(payload).request_id
            # On another connection it can be right: the acknowledgement was lost with the first.
            if self._unacknowledged.get(request_id) is connection:
                self.violations.append(f"reply without an acknowledgement to {request_id}")
        elif kind == pb.WORKER_CONNECT:
            connect = pb.WorkerConnectRequestData.FromString(payload)
            presented = connect.auth_data.session_token, connect.auth_data.sync_token
            issued = _sessions.get(connect.connection_id, presented)
            if not presented[0] or presented != issued:
                text = f"WORKER_CONNECT of {connect.connection_id} without its own tokens"
                self.violations.append(text)
