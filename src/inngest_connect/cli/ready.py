"""``inngest-connect ready``: asks a running worker's status server, for probes without curl.

Only the standard library, and of that only what is quick to load: a probe runs every few seconds.
"""

import socket
from typing import Final

_MOST_BYTES: Final = 8192
_WILDCARDS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses that a server may listen on, and where it then can be asked."""


def ask(address: str, path: str, timeout: float) -> tuple[bool, str]:
    """Whether the answer to GET ``path`` is 200, and the reason in one line.

    ``address`` is [HOST:]PORT, as ``run --http`` takes it. ``timeout`` is in seconds. Raises
    ValueError for a wrong address.
    """
    host, port = _parse(address)
    try:
        status, text = _get(host, port, path, timeout)
    except TimeoutError:
        return False, f"no answer from {host}:{port} within {timeout:g} s"
    except OSError as error:
        return False, f"cannot reach {host}:{port}: {error.strerror or error}"
    except ValueError:
        return False, f"{host}:{port} does not speak HTTP"
    reason = text.partition("\n")[0].strip() or f"HTTP {status}"
    if status in (200, 503):
        return status == 200, reason
    return False, f"HTTP {status} from {host}:{port}{path}: is that a worker's status server?"


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is no [HOST:]PORT, for example 127.0.0.1:8080")
    return _WILDCARDS.get(host, host), int(port)


def _get(host: str, port: int, path: str, timeout: float) -> tuple[int, str]:
    """HTTP/1.0, so that the end of the answer is the end of the stream."""
    name = f"[{host}]" if ":" in host else host
    request = f"GET {path} HTTP/1.0\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n"
    received = b""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(request.encode("ascii"))
        while len(received) < _MOST_BYTES:
            data = connection.recv(_MOST_BYTES)
            if not data:
                break
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    version, status = head.split(b" ", 2)[:2]
    if not version.startswith(b"HTTP/"):
        raise ValueError(version)
    text = body.decode("utf-8", "replace")
    return int(status), "".join(c if c.isprintable() or c == "\n" else " " for c in text)
