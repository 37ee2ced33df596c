"""The wire: generated messages (``connect_pb2``) and the constants that belong to them. Private.

docs/protocol.md describes the protocol. Intervals belong to the gateway: the defaults here are used
only for fields that it leaves empty.
"""

from typing import Final

from google.protobuf.message import DecodeError

SUBPROTOCOL: Final = "v0.connect.inngest.com"
"""Offered in the opening handshake (RFC 6455 section 1.9). A gateway need not select it."""

START_PATH: Final = "/v0/connect/start"
FLUSH_PATH: Final = "/v0/connect/flush"

DECODE_ERRORS: Final = (DecodeError, UnicodeDecodeError)
"""What reading a message can raise; the second is that of protobuf's pure-Python implementation."""

GATEWAY_READ_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one whole ConnectMessage. The gateway closes with 1009 when one is larger."""

DEFAULT_HEARTBEAT_INTERVAL: Final = 10.0
"""Seconds, also the longest: the router drops a worker that sends no heartbeat for 20 s."""

DEFAULT_EXTEND_LEASE_INTERVAL: Final = 30.0
"""Seconds, a quarter of the lease."""

MAX_EXTEND_LEASE_INTERVAL: Final = 40.0
"""Seconds, a third of the lease, so that one lost extension does not cost it."""

CLOSE_NORMAL: Final = 1000
CLOSE_GOING_AWAY: Final = 1001
CLOSE_PROTOCOL_ERROR: Final = 1002
CLOSE_ABNORMAL: Final = 1006
"""Never on the wire (RFC 6455 section 7.4.1): the connection ended without a close frame."""
CLOSE_POLICY_VIOLATION: Final = 1008
CLOSE_MESSAGE_TOO_BIG: Final = 1009
CLOSE_INTERNAL_ERROR: Final = 1011

REASON_WORKER_SHUTDOWN: Final = "WORKER_SHUTDOWN"
"""Of the worker's own close; the server stores any other text as the reason of the disconnect."""

# Reasons of the gateway's closes; docs/protocol.md#close-codes says when each is sent.
REASON_GATEWAY_CLOSING: Final = "connect_gateway_closing"
REASON_AUTHENTICATION_FAILED: Final = "connect_authentication_failed"
REASON_INTERNAL_ERROR: Final = "connect_internal_error"
