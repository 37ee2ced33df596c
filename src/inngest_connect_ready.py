"""The entry of the ``inngest-connect`` command, which answers ``inngest-connect ready`` itself.

A probe runs ``ready`` every few seconds. Importing the command line takes a third of a second of
processor time, so this module is outside the package and imports only the standard library, of
which it avoids ``asyncio`` and ``http``: 25 ms, of which the interpreter alone takes 8.
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

HTTP_VARIABLE: Final = "INNGEST_CONNECT_HTTP"
DEFAULT_ADDRESS: Final = "127.0.0.1:8080"
MARK: Final = "Inngest-Connect"
"""The header of every answer of a status server."""
HELP: Final = """Ask a worker that runs with --http whether it is ready, for probes without curl.

Prints one line with the reason. The exit code is 0 when it is, 1 when it is not or does not
answer, 2 for wrong usage."""

_MOST_BYTES: Final = 8192
_MOST_SHOWN: Final = 80
_WILDCARDS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses that a server may listen on, and the address of that server on this machine."""
_LONGEST_TIMEOUT: Final = 3600.0


def entry() -> None:
    """What the installed command runs: ``ready`` here, everything else in the package."""
    if sys.argv[1:2] == ["ready"]:
        sys.exit(main(sys.argv[2:]))
    from inngest_connect.cli import main as command_line

    command_line()


def parser() -> argparse.ArgumentParser:
    """What ``ready`` takes."""
    options = argparse.ArgumentParser(
        "inngest-connect ready", description=HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument(
        "--http",
        metavar="[HOST:]PORT",
        default=os.environ.get(HTTP_VARIABLE) or DEFAULT_ADDRESS,
        help=f"the worker's status server ({HTTP_VARIABLE}, or {DEFAULT_ADDRESS})",
    )
    options.add_argument(
        "--timeout", type=float, default=3.0, help="seconds to wait for an answer (3)"
    )
    options.add_argument(
        "--live-only", action="store_true", help="ask only whether it is live (/healthz)"
    )
    return options


def main(arguments: Sequence[str]) -> int:
    """Run ``ready`` with what follows it on the command line; returns the exit code."""
    options = parser()
    given = options.parse_args(arguments)
    if not 0.1 <= given.timeout <= _LONGEST_TIMEOUT:
        options.error(f"--timeout is {given.timeout:g}; it takes seconds from 0.1 to 3600")
    try:
        yes, reason = ask(given.http, "/healthz" if given.live_only else "/readyz", given.timeout)
    except ValueError as error:
        options.error(f"--http: {error}")
    question = "live" if given.live_only else "ready"
    sys.stdout.write(f"{question}: {reason}\n" if yes else f"not {question}: {reason}\n")
    return 0 if yes else 1


def ask(address: str, path: str, timeout: float) -> tuple[bool, str]:
    """Whether a worker's status server answers GET ``path`` with 200, and the reason in one line.

    ``address`` is [HOST:]PORT, as for ``run --http``. ``timeout`` is seconds for the whole answer.
    Raises ValueError for a wrong address.
    """
    host, _, digits = address.rpartition(":")
    if not digits.isascii() or not digits.isdigit() or not 0 < int(digits) < 65536:
        raise ValueError(f"{address!r} is not [HOST:]PORT, for example 127.0.0.1:8080")
    host, port = host.strip("[]"), int(digits)
    host = _WILDCARDS.get(host, host)
    try:
        status, headers, text = _get(host, port, path, timeout)
    except TimeoutError:
        return False, f"no answer from {host}:{port} within {timeout:g} s"
    except OSError as error:
        return False, f"cannot reach {host}:{port}: {error.strerror or error}"
    except ValueError:
        return False, f"{host}:{port} does not speak HTTP"
    first = text.partition("\n")[0].strip()
    if MARK.lower() not in headers:
        who = f"HTTP {status}"
        if name := headers.get("server"):
            who += f" from {name[:_MOST_SHOWN]!r}"
        if first:
            who += f", {first[:_MOST_SHOWN]!r}"
        return False, (
            f"{host}:{port} is not the status server of a worker: it answered {path} with {who}. "
            "Start the worker with --http, and pass the same address here"
        )
    reason = first or f"HTTP {status}"
    if status in (200, 503):
        return status == 200, reason
    return False, f"HTTP {status} from {host}:{port}{path}: {reason}"


def _get(host: str, port: int, path: str, timeout: float) -> tuple[int, dict[str, str], str]:
    """Status, headers with names in lower case, and body.

    HTTP/1.0, so that the end of the answer is the end of the stream.
    """
    end = time.monotonic() + timeout
    name = f"[{host}]" if ":" in host else host
    request = f"GET {path} HTTP/1.0\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n"
    received = b""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(request.encode("ascii"))
        while len(received) < _MOST_BYTES:
            # The limit of a socket is for each call, and an answer that trickles never exceeds it.
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            data = connection.recv(_MOST_BYTES)
            if not data:
                break
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    version, status = first.split(b" ", 2)[:2]
    if not version.startswith(b"HTTP/"):
        raise ValueError(version)
    headers = {}
    for line in lines:
        key, _, value = line.partition(b":")
        headers[_shown(key).strip().lower()] = _shown(value).strip()
    return int(status), headers, _shown(body)


def _shown(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
