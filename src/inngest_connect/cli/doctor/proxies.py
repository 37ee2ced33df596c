"""Check 6: which proxy carries what, why, and whether it lets a connection through."""

import asyncio
import os
import ssl
import urllib.parse
import urllib.request
from typing import Any, Final

from ...errors import ConfigurationError
from ...transport.environment import proxy_for
from .examination import Endpoint, Examination
from .findings import Finding, failed

PROXY_VARIABLES: Final = (
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip

_NAMES: Final = {"https": "HTTPS_PROXY", "wss": "HTTPS_PROXY", "http": "HTTP_PROXY"}
_HTTP_STATUS: Final = range(100, 600)


class ProxyRefused(Exception):
    """The proxy cannot be used. ``remedy`` says what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


async def check_proxy(examination: Examination) -> Finding:
    """Asks the API's proxy for a tunnel to the API, which is how it carries a gateway too."""
    origin = examination.subject.client.api_origin
    gateway = examination.subject.options.gateway_url or "wss://<the gateway>"
    try:
        proxy = proxy_for(origin)
    except ConfigurationError as error:
        return failed(str(error), "Set HTTPS_PROXY to an http:// proxy")
    details = (f"API: {why(origin)}", f"gateway: {why(gateway)}")
    data = {"api": shown(proxy) if proxy else None, "reasons": list(details)}
    if proxy is None:
        return Finding("none for the API", (), details, data)
    endpoint = Endpoint.of(origin, proxy)
    if not endpoint.encrypted:
        return Finding(f"{shown(proxy)} forwards the API's http://", (), details, data)
    try:
        (await open_tunnel(endpoint, None, examination.timeout)).close()
    except ProxyRefused as refused:
        return failed(f"{shown(proxy)}: {refused}", refused.remedy, **data)
    except OSError as error:
        return failed(f"{shown(proxy)}: {error}", "Check HTTPS_PROXY and what serves it", **data)
    return Finding(f"{shown(proxy)} lets connections to {endpoint} through", (), details, data)


def shown(proxy: str) -> str:
    """A proxy's URL without its credentials."""
    scheme, separator, rest = proxy.rpartition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{'***@' if at else ''}{host}" if user or at else proxy


def why(url: str) -> str:
    """Which rule decides how ``url`` is reached."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "ws":
        return "direct, because ws:// never goes through a proxy"
    name = _NAMES[parts.scheme]
    proxies = urllib.request.getproxies()
    proxy = proxies.get(name.partition("_")[0].lower())
    if not proxy:
        name, proxy = "ALL_PROXY", proxies.get("all")
    if not proxy:
        return "direct, because no proxy variable is set"
    if parts.hostname and urllib.request.proxy_bypass(parts.hostname):
        return f"direct, because NO_PROXY covers {parts.hostname}"
    variable = name if name in os.environ else name.lower()
    return f"{shown(proxy)}, because of {variable}"


async def open_tunnel(
    endpoint: Endpoint, tls: ssl.SSLContext | None, timeout: float
) -> asyncio.StreamWriter:
    """Connect through ``endpoint.proxy``, with ``tls`` to the host behind it.

    Raises ProxyRefused, and what TLS raises.
    """
    # A dependency of picows, which uses it to the same end; imported when there is a proxy.
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
    from python_socks.async_.asyncio.v2 import Proxy

    assert endpoint.proxy is not None
    encrypted = endpoint.proxy.startswith("https://")
    proxy = Proxy.from_url(
        endpoint.proxy, proxy_ssl=ssl.create_default_context() if encrypted else None
    )
    try:
        stream: Any = await proxy.connect(
            endpoint.host, endpoint.port, dest_ssl=tls, timeout=timeout
        )
    except (ProxyTimeoutError, TimeoutError):
        raise ProxyRefused(
            f"no answer within {timeout:g} s",
            "Check that the proxy runs, and that this machine may reach it",
        ) from None
    except ProxyConnectionError as error:
        raise ProxyRefused(
            f"it cannot be reached: {error.strerror or error}",
            "Check the address in HTTPS_PROXY, and that the proxy runs",
        ) from None
    except ProxyError as error:
        raise _refused(error.error_code, str(error), endpoint) from None
    writer: asyncio.StreamWriter = stream.writer
    return writer


def _refused(code: int | None, text: str, endpoint: Endpoint) -> ProxyRefused:
    if code == 407:
        return ProxyRefused(
            "it wants a user name and a password, or others than it got (407)",
            "Put them into HTTPS_PROXY: http://user:password@host:port, special characters "
            "percent-encoded",
        )
    status = f"HTTP {code}" if code in _HTTP_STATUS else text
    return ProxyRefused(
        f"it refused a connection to {endpoint}: {status}",
        f"Let the proxy allow CONNECT to {endpoint}, or put {endpoint.host} into NO_PROXY",
    )
