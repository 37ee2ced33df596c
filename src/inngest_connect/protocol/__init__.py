"""The Connect wire format and the constants that belong to it.

Sources are named per constant; "PROTOCOL" is the team's protocol notes. Constants that the server
may change between releases (heartbeat, lease extension, status interval) are only defaults for
empty fields: what the gateway sends is obeyed.
"""

from typing import Final

SUBPROTOCOL: Final = "v0.connect.inngest.com"
"""Offered and required in the opening handshake (RFC 6455 section 1.9; PROTOCOL section 2)."""

START_PATH: Final = "/v0/connect/start"
FLUSH_PATH: Final = "/v0/connect/flush"

GATEWAY_READ_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one whole ConnectMessage; a larger one makes the gateway close 1009."""

DEFAULT_HEARTBEAT_INTERVAL: Final = 10.0
"""Seconds. Also the slowest we go: the router forgets a worker that is silent for 20 s."""

DEFAULT_EXTEND_LEASE_INTERVAL: Final = 30.0
"""Seconds, a quarter of today's two-minute lease."""

MAX_EXTEND_LEASE_INTERVAL: Final = 40.0
"""Seconds, a third of the lease: one lost extension must not cost it (PROTOCOL section 10)."""

CLOSE_NORMAL: Final = 1000
CLOSE_GOING_AWAY: Final = 1001
CLOSE_PROTOCOL_ERROR: Final = 1002
CLOSE_ABNORMAL: Final = 1006
"""Never on the wire (RFC 6455 section 7.4.1): the connection ended without a close frame."""
CLOSE_POLICY_VIOLATION: Final = 1008
CLOSE_MESSAGE_TOO_BIG: Final = 1009
CLOSE_INTERNAL_ERROR: Final = 1011

REASON_WORKER_SHUTDOWN: Final = "WORKER_SHUTDOWN"
"""The reason of our own close; any other text is stored as the disconnect reason."""

REASON_GATEWAY_CLOSING: Final = "connect_gateway_closing"
REASON_AUTHENTICATION_FAILED: Final = "connect_authentication_failed"
REASON_TOO_MANY_APPS: Final = "connect_too_many_apps_per_connection"
REASON_HELLO_INVALID_MESSAGE: Final = "connect_worker_hello_invalid_msg"
REASON_HELLO_INVALID_PAYLOAD: Final = "connect_worker_hello_invalid_payload"
REASON_INTERNAL_ERROR: Final = "connect_internal_error"
