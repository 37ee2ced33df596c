"""What the process environment says about the network: proxies and certificate authorities.

The same rules hold for the HTTP calls (``httpx`` reads the environment itself) and for ``wss://``,
where ``picows`` takes a proxy and a TLS context as arguments. ``ws://`` never goes through a proxy.
"""

import importlib.util
import os
import ssl
import urllib.parse
import urllib.request
from typing import Final

import httpx

from ..errors import ConfigurationError
from .urls import check_url, shown_url

_SUPPORTED_PROXIES: Final = frozenset({"http", "https", "socks4", "socks5"})
_PROXY_SCHEMES: Final = ("http", "https", "socks4", "socks5", "socks5h")
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
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


def check_proxy_variables() -> None:
    """Raises ConfigurationError, naming variable and value, for a proxy that cannot be used."""
    for kind, proxy in urllib.request.getproxies().items():
        if kind not in ("http", "https", "all") or not proxy:
            continue
        name = f"{kind}_proxy"
        name = name.upper() if os.environ.get(name.upper()) else name
        url = proxy if "://" in proxy else f"http://{proxy}"
        check_url(name, url, _PROXY_SCHEMES, "http://proxy.example.com:3128")
        if url.startswith("socks") and importlib.util.find_spec("socksio") is None:
            raise ConfigurationError(
                f"{name} is {shown_url(proxy)!r}, and the HTTP client needs a package for SOCKS: "
                'pip install "httpx[socks]"'
            )


def check_network(*urls: str | None) -> None:
    """Raises ConfigurationError for variables that ``urls`` cannot be reached with."""
    check_proxy_variables()
    # The list of certifi is always readable, and reading one takes tens of milliseconds.
    is_named = any(os.environ.get(name) for name in _CA_VARIABLES)
    if is_named and any(url and url.startswith(("https:", "wss:")) for url in urls):
        tls_context()


def tls_context() -> ssl.SSLContext:
    """Verifying context for HTTPS and wss; honours SSL_CERT_FILE and SSL_CERT_DIR.

    Raises ConfigurationError when what they name cannot be read.
    """
    name = next((name for name in _CA_VARIABLES if os.environ.get(name)), None)
    try:
        context = httpx.create_ssl_context(trust_env=True)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            f"the certificate authorities cannot be read: {name or 'the list of certifi'} is "
            f"{os.environ.get(name or '', '')!r} ({getattr(error, 'strerror', None) or error}); "
            "SSL_CERT_FILE has to name a readable PEM file, SSL_CERT_DIR a directory of them"
        ) from None
    if name == "SSL_CERT_DIR" and not os.path.isdir(os.environ[name]):
        raise ConfigurationError(
            f"SSL_CERT_DIR is {os.environ[name]!r}, which is not a directory: name one with PEM "
            "files, or unset it"
        )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
