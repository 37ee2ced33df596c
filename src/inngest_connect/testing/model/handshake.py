"""What a gateway checks of WORKER_CONNECT, in the order of docs/protocol.md#connect."""

import json

from google.protobuf.message import DecodeError

from ...core.wire.ulid import is_ulid
from ...protocol import connect_pb2 as pb


class HandshakeRefused(Exception):
    """The gateway closes the connection with this code and reason."""

    def __init__(
        self, code: int = 1008, reason: str = "connect_worker_hello_invalid_payload"
    ) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


def check_connect(
    message: pb.ConnectMessage, max_apps: int, sessions: dict[str, tuple[str, str]] | None
) -> tuple[pb.WorkerConnectRequestData, frozenset[str]]:
    """Decode the first message of a worker; return it with the slugs of its functions.

    ``sessions`` has session and sync token by connection id, each of which serves once; None
    accepts any token. Raises HandshakeRefused.
    """
    if message.kind != pb.WORKER_CONNECT:
        raise HandshakeRefused(1008, "connect_worker_hello_invalid_msg")
    try:
        connect = pb.WorkerConnectRequestData.FromString(message.payload)
    except DecodeError:
        raise HandshakeRefused from None
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
        slugs = frozenset(config["id"] for functions in listed for config in functions)
    except (ValueError, TypeError, KeyError):
        raise HandshakeRefused(1011, "connect_internal_error") from None
    presented = connect.auth_data.session_token, connect.auth_data.sync_token
    if sessions is not None and sessions.pop(connect.connection_id, None) != presented:
        raise HandshakeRefused(1008, "connect_authentication_failed")
    return connect, slugs
