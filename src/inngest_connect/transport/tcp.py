"""Tcp: from a name and a port to a connected socket, for the WebSocket and the HTTP calls alike.

Names are resolved on threads of their own (``resolver``), and the addresses race (RFC 8305).
"""

import errno
import socket
from dataclasses import dataclass
from typing import Any, Final

import aiohappyeyeballs

from .resolver import getaddrinfo

NEXT_ADDRESS_AFTER: Final = 0.25
"""Seconds before the next address is tried beside one that has not answered (RFC 8305)."""

_NO_ROUTE: Final = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
    }
)


@dataclass(slots=True)
class Way:
    """How far an attempt has come, for the error that says so when its limit passes."""

    stage: str = ""
    offline: bool = False
    """Nothing outside this machine was reached: no address for the name, or no route to it."""


async def connect(host: str, port: int, way: Way) -> socket.socket:
    """A connected, non-blocking socket. Raises OSError; ``way`` says how far it came."""
    name = f"{host}:{port}"
    way.stage, way.offline = f"waiting for the address of {host}", True
    addresses: list[Any] = await getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} has no address")
    way.stage, way.offline = f"connecting to {name}", False
    try:
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER
        )
    except OSError as error:
        way.offline = error.errno in _NO_ROUTE
        raise
    way.stage = f"connected to {name}, waiting for its answer"
    return connected
