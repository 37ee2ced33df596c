"""What the process environment says about the network: proxies and certificate authorities.

The same rules hold for the HTTP calls (``httpx`` reads the environment itself) and for ``wss://``,
where ``picows`` takes a proxy and a TLS context as arguments. ``ws://`` never goes through a proxy.
"""

import ssl
import urllib.parse
import urllib.request
from typing import Final

import httpx

from ..errors import ConfigurationError

_SUPPORTED_PROXIES: Final = frozenset({"http", "https", "socks4", "socks5"})
_VARIABLE_SCHEMES: Final = {"wss": "https", "https": "https", "http": "http"}


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for ``url``, None for a direct connection.

    Reads HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case, for ``http://`` HTTP_PROXY.
    Raises ConfigurationError for a kind of proxy that cannot be used, instead of connecting
    without it.
    """
    parts = urllib.parse.urlsplit(url)
    scheme = _VARIABLE_SCHEMES.get(parts.scheme)
    if scheme is None or parts.hostname is None:
        return None
    if urllib.request.proxy_bypass(parts.hostname):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    kind = urllib.parse.urlsplit(proxy).scheme
    if kind not in _SUPPORTED_PROXIES:
        raise ConfigurationError(
            f"the environment names a {kind}:// proxy, which cannot carry the WebSocket; "
            f"use one of {', '.join(sorted(_SUPPORTED_PROXIES))}, or NO_PROXY={parts.hostname}"
        )
    return proxy


def tls_context() -> ssl.SSLContext:
    """Verifying context for HTTPS and wss; honours SSL_CERT_FILE and SSL_CERT_DIR."""
    context = httpx.create_ssl_context(trust_env=True)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
