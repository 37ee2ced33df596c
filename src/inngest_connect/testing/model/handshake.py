"""What a gateway checks of WORKER_CONNECT, in the order of PROTOCOL.md section 3."""

import json

from ...core.wire.ulid import is_ulid
from ...protocol import connect_pb2 as pb


class HandshakeRefused(Exception):
    """The worker is turned away with this close code and reason."""

    def __init__(
        self, code: int = 1008, reason: str = "connect_worker_hello_invalid_payload"
    ) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


def routable_functions(connect: pb.WorkerConnectRequestData, max_apps: int) -> frozenset[str]:
    """The function slugs that a worker serves. Raises HandshakeRefused."""
    if not is_ulid(connect.connection_id) or not connect.instance_id:
        raise HandshakeRefused
    if not connect.auth_data.session_token:
        raise HandshakeRefused(1008, "connect_authentication_failed")
    if not connect.apps:
        raise HandshakeRefused
    if len(connect.apps) > max_apps:
        raise HandshakeRefused(1008, "connect_too_many_apps_per_connection")
    try:
        json.loads(connect.capabilities)
        listed = [json.loads(app.functions) for app in connect.apps]
        if not all(isinstance(functions, list) for functions in listed):
            raise ValueError("functions have to be a list")
        return frozenset(config["id"] for functions in listed for config in functions)
    except (ValueError, TypeError, KeyError):
        raise HandshakeRefused(1011, "connect_internal_error") from None
