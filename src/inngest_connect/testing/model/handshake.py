"""What a gateway checks of WORKER_CONNECT, in the order of docs/protocol.md#connect."""

import json

from ...core.wire.ulid import is_ulid
from ...protocol import DECODE_ERRORS
from ...protocol import connect_pb2 as pb


class HandshakeRefused(Exception):
    """The gateway closes the connection with this code and reason."""

    def __init__(
        self,
        code: int = 1008,
        reason: str = "connect_worker_hello_invalid_payload",
        *,
        of_the_worker: bool = True,
    ) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
        self.of_the_worker = of_the_worker
        """Whether the worker has made a mistake, and not only time has passed."""


class Sessions:
    """The tokens of answered start requests. Each serves once, and until it expires.

    The gateway itself only checks signature and expiry; that a worker uses an answer for one
    connection is checked here because it promises so (docs/protocol.md#start).
    """

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._issued: dict[str, tuple[str, str, float]] | None = None
        """Session and sync token and expiry by connection id; None until the API has issued one."""

    def issued(self, connection_id: str, session: str, sync: str, now: float) -> None:
        """Take the tokens of an answer. From the first call on they are checked."""
        if self._issued is None:
            self._issued = {}
        self._issued[connection_id] = session, sync, now + self._lifetime

    def check(self, connect: pb.WorkerConnectRequestData, now: float) -> None:
        """Raise HandshakeRefused for tokens that were not issued, were used, or have expired."""
        auth = connect.auth_data
        if not auth.session_token:
            raise HandshakeRefused(1008, "connect_authentication_failed")
        if self._issued is None:
            return
        session, sync, until = self._issued.pop(connect.connection_id, ("", "", 0.0))
        known = session == auth.session_token and sync == auth.sync_token
        if not known or now >= until:
            raise HandshakeRefused(1008, "connect_authentication_failed", of_the_worker=not known)


def check_connect(
    message: pb.ConnectMessage, max_apps: int, sessions: Sessions, now: float
) -> tuple[pb.WorkerConnectRequestData, frozenset[str]]:
    """Decode the first message of a worker; return it with the slugs of its functions.

    Raises HandshakeRefused.
    """
    if message.kind != pb.WORKER_CONNECT:
        raise HandshakeRefused(1008, "connect_worker_hello_invalid_msg")
    try:
        connect = pb.WorkerConnectRequestData.FromString(message.payload)
    except DECODE_ERRORS:
        raise HandshakeRefused from None
    if not is_ulid(connect.connection_id) or not connect.instance_id:
        raise HandshakeRefused
    sessions.check(connect, now)
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
    return connect, slugs


def synchronized_as(connect: pb.WorkerConnectRequestData) -> tuple[object, ...]:
    """Return what has to be unchanged for the synchronization to be skipped."""
    apps = tuple((app.app_name, app.app_version, app.functions) for app in connect.apps)
    return connect.environment, connect.sdk_language, connect.sdk_version, connect.platform, apps
