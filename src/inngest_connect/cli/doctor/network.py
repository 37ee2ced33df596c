"""Checks 3, 4 and 6: the API's name, a connection to each of its addresses, and its proxy."""

import asyncio
import errno
import ipaddress
import socket
import ssl
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, Final

from ...transport.environment import proxy_and_reason, tls_context
from ...transport.resolver import getaddrinfo
from ...transport.urls import shown_url
from .examination import Examination
from .findings import Finding, Problem, failed, skipped

DEV_SERVER_PORT: Final = 8288
"""Where the API of a development server listens, and of ``inngest-connect gateway``."""
DEV_GATEWAY_PORT: Final = 8289
"""Where their gateway listens."""
_RESOLVER: Final = "Check that the servers in /etc/resolv.conf answer and that port 53 is open"
_NO_NAME: Final = frozenset(
    {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), socket.EAI_FAIL}
)
_HTTP_STATUS: Final = range(100, 600)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host to connect to. ``proxy`` is the URL of the proxy that carries the connection."""

    host: str
    port: int
    encrypted: bool
    proxy: str | None = None

    @staticmethod
    def of(url: str, proxy: str | None) -> "Endpoint":
        """``url`` is one that was checked."""
        parts = urllib.parse.urlsplit(url)
        encrypted = parts.scheme in ("https", "wss")
        port = parts.port or (443 if encrypted else 80)
        return Endpoint(parts.hostname or "", port, encrypted, proxy)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def api_endpoint(examination: Examination) -> Endpoint:
    """Where the API is, and the proxy to it."""
    origin = examination.subject.client.api_origin
    return Endpoint.of(origin, proxy_and_reason(origin)[0])


async def check_name(examination: Examination) -> Finding:
    """Behind a proxy the proxy resolves the name."""
    endpoint = api_endpoint(examination)
    if endpoint.proxy is not None:
        return skipped(f"the proxy {shown_url(endpoint.proxy)} resolves {endpoint.host}")
    return await resolve(endpoint, examination.timeout, examination.api_setting)


async def check_addresses(examination: Examination) -> Finding:
    """Behind a proxy the proxy connects."""
    endpoint = api_endpoint(examination)
    if endpoint.proxy is not None:
        return skipped(f"the proxy {shown_url(endpoint.proxy)} makes the connection")
    return await reach(endpoint, examination.timeout, examination.api_setting)


async def check_proxy(examination: Examination) -> Finding:
    """Asks the API's proxy for a tunnel to the API, which is how it carries a gateway too."""
    origin = examination.subject.client.api_origin
    proxy, reason = proxy_and_reason(origin)
    gateway = examination.subject.options.gateway_url or "wss://<the gateway>"
    details = (f"API: {reason}", f"gateway: {proxy_and_reason(gateway)[1]}")
    data = {"api": shown_url(proxy) if proxy else None, "reasons": list(details)}
    if proxy is None:
        return Finding("none for the API", (), details, data)
    endpoint = Endpoint.of(origin, proxy)
    if not endpoint.encrypted:
        return Finding(f"{shown_url(proxy)} forwards the API's http://", (), details, data)
    try:
        (await open_tunnel(endpoint, None, examination.timeout)).close()
    except ProxyRefused as refused:
        return failed(str(refused), refused.remedy, **data)
    except OSError as error:
        remedy = "Check HTTPS_PROXY and the server at its address"
        return failed(f"{shown_url(proxy)}: {error}", remedy, **data)
    return Finding(f"{shown_url(proxy)} lets connections to {endpoint} through", (), details, data)


async def resolve(endpoint: Endpoint, timeout: float, setting: str) -> Finding:
    """Whether the name has addresses. ``setting`` is what names the endpoint."""
    host = endpoint.host
    try:
        ipaddress.ip_address(host)
        return Finding(f"{host} is an address", data={"addresses": [host]})
    except ValueError:
        pass  # a name
    try:
        addresses = await _addresses(endpoint, timeout)
    except TimeoutError:
        return failed(f"the resolver gave no answer for {host} within {timeout:g} s", _RESOLVER)
    except OSError as error:
        if error.errno in _NO_NAME:
            return failed(
                f"the name {host} does not exist ({error.strerror})",
                f"If it is misspelled, correct {setting}; in a cluster, check DNS and search "
                "domains",
            )
        return failed(f"{host} cannot be resolved ({error.strerror})", _RESOLVER)
    text = f"{host} is {', '.join(addresses)}"
    return Finding(text, data={"host": host, "addresses": addresses})


async def reach(endpoint: Endpoint, timeout: float, setting: str) -> Finding:
    """Whether each address accepts a connection. One that does is enough for a worker.

    ``setting`` is what names the endpoint.
    """
    port = endpoint.port

    async def attempt(address: str) -> float | OSError:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(address, port)
        except OSError as error:  # TimeoutError is one
            return error
        writer.close()
        return time.monotonic() - begun

    addresses = await _addresses(endpoint, timeout)
    ends = dict(zip(addresses, await asyncio.gather(*map(attempt, addresses)), strict=True))
    errors = {address: end for address, end in ends.items() if isinstance(end, OSError)}
    shown = {address: _in_words(error) for address, error in errors.items()}
    good = [
        f"{address} in {end * 1000:.0f} ms"
        for address, end in ends.items()
        if not isinstance(end, OSError)
    ]
    data = {"port": port, "addresses": {**ends, **shown}}
    if not errors:
        return Finding(f"port {port} of {', '.join(good)}", data=data)
    text = f"port {port} of {'; '.join(f'{address}: {words}' for address, words in shown.items())}"
    if any(isinstance(error, ConnectionRefusedError) for error in errors.values()):
        remedy = "Nothing listens there: check the host and the port"
        if endpoint.host in ("localhost", "127.0.0.1", "::1"):
            remedy = (
                "Nothing listens there: start the development server; in a container this address "
                "is the container itself"
            )
        remedy += f". It comes from {setting}"
    else:
        remedy = (
            f"A firewall, security group or network policy has to allow TCP to port {port}; where "
            "only a proxy leads out, set HTTPS_PROXY"
        )
    return Finding(text, (Problem(text, remedy, fatal=not good),), tuple(good), data)


def _in_words(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "no route"
    return str(error) or type(error).__name__


async def _addresses(endpoint: Endpoint, timeout: float) -> list[str]:
    async with asyncio.timeout(timeout):
        found = await getaddrinfo(endpoint.host, endpoint.port)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class ProxyRefused(Exception):
    """The proxy cannot be used. The text names it, and ``remedy`` says what to do."""

    def __init__(self, proxy: str, text: str, remedy: str) -> None:
        super().__init__(f"{shown_url(proxy)}: {text}")
        self.remedy = remedy


async def open_tunnel(
    endpoint: Endpoint, tls: ssl.SSLContext | None, timeout: float
) -> asyncio.StreamWriter:
    """Connect through ``endpoint.proxy``, with ``tls`` to the host behind it.

    Raises ProxyRefused, and what TLS raises.
    """
    # A dependency of picows, which uses it to the same end; imported when there is a proxy.
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
    from python_socks.async_.asyncio.v2 import Proxy

    url = endpoint.proxy
    assert url is not None
    scheme, _, rest = url.partition("://")
    # Its own words for them. A SOCKS proxy resolves the name, as for a worker.
    spoken = {"https": "http", "socks5h": "socks5"}.get(scheme, scheme)
    proxy = Proxy.from_url(
        f"{spoken}://{rest}", proxy_ssl=tls_context() if scheme == "https" else None
    )
    try:
        stream: Any = await proxy.connect(
            endpoint.host, endpoint.port, dest_ssl=tls, timeout=timeout
        )
    except (ProxyTimeoutError, TimeoutError):
        raise ProxyRefused(
            url,
            f"no answer within {timeout:g} s",
            "Check that the proxy runs, and that this machine may reach it",
        ) from None
    except ProxyConnectionError as error:
        raise ProxyRefused(
            url,
            f"it cannot be reached: {error.strerror or error}",
            "Check the address in HTTPS_PROXY, and that the proxy runs",
        ) from None
    except ProxyError as error:
        code = error.error_code
        if code == 407:
            raise ProxyRefused(
                url,
                "it requires a user name and a password, or others than it got (407)",
                "Put them into HTTPS_PROXY: http://user:password@host:port, special characters "
                "percent-encoded",
            ) from None
        raise ProxyRefused(
            url,
            f"it refused a connection to {endpoint}: "
            f"{f'HTTP {code}' if code in _HTTP_STATUS else error}",
            f"Let the proxy allow CONNECT to {endpoint}, or put {endpoint.host} into NO_PROXY",
        ) from None
    writer: asyncio.StreamWriter = stream.writer
    return writer
