"""TCP connections by name and port, for the WebSocket and the HTTP calls alike."""

import errno
import socket
from dataclasses import dataclass
from typing import Final

import aiohappyeyeballs

from .resolver import getaddrinfo

_NEXT_ADDRESS_AFTER: Final = 0.25
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
class DialProgress:
    """How far an attempt has come, for the error that names it when its time limit passes."""

    stage: str = ""
    offline: bool = False
    """Nothing outside this machine was reached: no address for the name, or no route to it."""
    refused: bool = False
    """A machine answered that nothing listens at this port."""


async def connect(host: str, port: int, progress: DialProgress) -> socket.socket:
    """A connected, non-blocking socket. Raises OSError, and keeps ``progress`` up to date.

    The addresses race (RFC 8305), so an address that drops packets delays the others by a quarter
    of a second and not by the system's time limit. ``start_connection`` closes every socket that it
    does not return: the losers, and all of them when every address fails or this is cancelled.
    """
    name = f"{host}:{port}"
    progress.stage, progress.offline = f"waiting for the address of {host}", True
    addresses = await getaddrinfo(host, port)
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} has no address")
    progress.stage, progress.offline = f"connecting to {name}", False
    try:
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER
        )
    except OSError as error:
        progress.offline = error.errno in _NO_ROUTE
        progress.refused = error.errno == errno.ECONNREFUSED
        raise
    progress.stage = f"connected to {name}, waiting for its answer"
    return connected
