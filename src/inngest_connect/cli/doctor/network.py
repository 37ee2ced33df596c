"""Checks 3 and 4: the name of the API's host, and a TCP connection to each of its addresses."""

import asyncio
import errno
import ipaddress
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...errors import ConfigurationError
from ...transport.environment import proxy_for
from .examination import Endpoint, Examination
from .findings import Finding, Problem, failed, skipped
from .proxies import shown

_URL_REMEDY: Final = "check INNGEST_API_BASE_URL, INNGEST_BASE_URL and INNGEST_DEV"
_NO_NAME: Final = frozenset(
    {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), socket.EAI_FAIL}
)


async def check_name(examination: Examination) -> Finding:
    endpoint = api_endpoint(examination)
    if endpoint.proxy is not None:
        return skipped(f"the proxy {shown(endpoint.proxy)} resolves {endpoint.host}")
    return await resolve(endpoint, examination.timeout)


async def check_addresses(examination: Examination) -> Finding:
    endpoint = api_endpoint(examination)
    if endpoint.proxy is not None:
        return skipped(f"the proxy {shown(endpoint.proxy)} makes the connection")
    return await reach(endpoint, examination.timeout)


def api_endpoint(examination: Examination) -> Endpoint:
    """A proxy of an impossible kind counts as none here: the check of the proxy is about it."""
    origin = examination.subject.client.api_origin
    try:
        return Endpoint.of(origin, proxy_for(origin))
    except ConfigurationError:
        return Endpoint.of(origin)


async def resolve(endpoint: Endpoint, timeout: float) -> Finding:
    """Whether the name has addresses."""
    if _is_address(endpoint.host):
        return Finding(f"{endpoint.host} is an address", data={"addresses": [endpoint.host]})
    try:
        addresses = await _addresses(endpoint, timeout)
    except TimeoutError:
        return failed(
            f"the resolver gave no answer for {endpoint.host} within {timeout:g} s", _RESOLVER
        )
    except OSError as error:
        if error.errno in _NO_NAME:
            return failed(
                f"the name {endpoint.host} does not exist ({error.strerror})",
                f"If it is misspelt, {_URL_REMEDY}; in a cluster, check its DNS and search domains",
            )
        return failed(f"{endpoint.host} cannot be resolved ({error.strerror})", _RESOLVER)
    text = f"{endpoint.host} is {', '.join(addresses)}"
    return Finding(text, data={"host": endpoint.host, "addresses": addresses})


_RESOLVER: Final = "Check that the servers in /etc/resolv.conf answer and that port 53 is open"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _addresses(endpoint: Endpoint, timeout: float) -> list[str]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True, slots=True)
class _Attempt:
    address: str
    seconds: float
    error: BaseException | None

    def __str__(self) -> str:
        if self.error is None:
            return f"{self.address} in {self.seconds * 1000:.0f} ms"
        return f"{self.address}: {_in_words(self.error)}"


async def reach(endpoint: Endpoint, timeout: float) -> Finding:
    """Whether each address accepts a connection."""
    addresses = await _addresses(endpoint, timeout)
    attempts = await asyncio.gather(
        *(_try_to_connect(address, endpoint.port, timeout) for address in addresses)
    )
    bad = [one for one in attempts if one.error is not None]
    data = {
        "port": endpoint.port,
        "addresses": {
            one.address: one.seconds if one.error is None else _in_words(one.error)
            for one in attempts
        },
    }
    if not bad:
        return Finding(f"port {endpoint.port} of {', '.join(map(str, attempts))}", data=data)
    text = f"port {endpoint.port} of {'; '.join(map(str, bad))}"
    problem = Problem(text, _remedy(bad, endpoint), fatal=len(bad) == len(attempts))
    good = tuple(str(one) for one in attempts if one.error is None)
    return Finding(text, (problem,), good, data)


async def _try_to_connect(address: str, port: int, timeout: float) -> _Attempt:
    begun = time.monotonic()
    error: BaseException | None = None
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(address, port)
        writer.close()
    except OSError as caught:  # TimeoutError is one
        error = caught
    return _Attempt(address, time.monotonic() - begun, error)


def _in_words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "no route"
    return str(error) or type(error).__name__


def _remedy(bad: Sequence[_Attempt], endpoint: Endpoint) -> str:
    if any(isinstance(one.error, ConnectionRefusedError) for one in bad):
        local = endpoint.host in ("localhost", "127.0.0.1", "::1")
        where = (
            "Nothing listens there: start the development server, or unset INNGEST_DEV; in a "
            "container this address is the container itself"
            if local
            else "Nothing listens there: check the host and the port"
        )
        return f"{where}; {_URL_REMEDY}"
    return (
        f"A firewall, security group or network policy has to allow TCP to port {endpoint.port}; "
        "where only a proxy leads out, set HTTPS_PROXY"
    )
