"""What the process environment defines about the network: proxies and certificate authorities.

The same rules hold for the HTTP calls and for ``wss://``: both libraries get the proxy and the TLS
context as arguments and do not read the environment. ``ws://`` never goes through a proxy.
"""

import importlib.util
import ipaddress
import os
import ssl
import urllib.parse
import urllib.request
from typing import Final

import httpx

from ..core.wire.user_text import shown_value
from ..errors import ConfigurationError
from .urls import check_url, shown_setting, shown_url

PROXY_VARIABLES: Final = (
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip
_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
"""Not socks4, which the HTTP client does not support."""
CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIED: Final = {"wss": ("https", 443), "https": ("https", 443), "http": ("http", 80)}
"""For each scheme that a proxy can carry, the scheme of its variable, and its port."""


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for ``url``, None for a direct connection.

    Decides for the HTTP calls and for the WebSocket alike. Reads HTTPS_PROXY, ALL_PROXY and
    NO_PROXY, in upper or lower case, for ``http://`` HTTP_PROXY. Raises ConfigurationError for a
    proxy that cannot be used, instead of connecting without it.
    """
    return proxy_and_reason(url)[0]


def proxy_and_reason(url: str) -> tuple[str | None, str]:
    """``proxy_for(url)``, and the rule that decided. Raises ConfigurationError."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _PROXIED or parts.hostname is None:
        return None, "direct, because ws:// never goes through a proxy"
    scheme, default_port = _PROXIED[parts.scheme]
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None, "direct, because no proxy variable is set"
    if not urllib.request.getproxies_environment() and urllib.request.proxy_bypass(parts.hostname):
        return None, "direct, because of the settings of macOS or Windows"
    port = parts.port or default_port
    if _is_excepted({parts.scheme, scheme, "all"}, parts.hostname, port, proxies.get("no", "")):
        return None, f"direct, because NO_PROXY covers {parts.hostname}"
    kind = scheme if proxies.get(scheme) else "all"
    proxy = _checked(kind, proxy)
    return proxy, f"{shown_url(proxy)}, because of {_variable(kind)}"


def _is_excepted(schemes: set[str], host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host.

    Entries are separated by commas: ``*``, a host with all hosts below it (a leading dot or ``*.``
    means the same), an address, a network such as ``10.0.0.0/8``, each with an optional scheme and
    port. Names are not resolved.
    """
    host = host.rstrip(".").lower()
    for entry in no_proxy.lower().replace(",", " ").split():
        scheme, separator, name = entry.rpartition("://")
        if separator and scheme not in schemes:
            continue
        # ``host:port`` or ``[::1]:port``, but not ``::1``.
        before, _, after = name.rpartition(":")
        if before and after.isdecimal() and (":" not in before or before.endswith("]")):
            if int(after) != port:
                continue
            name = before
        name = name.strip("[]").removeprefix("*.").strip(".")
        if name == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            pass  # names
    return False


def _checked(kind: str, proxy: str) -> str:
    """The URL of the proxy of this kind of variable. Raises ConfigurationError."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    scheme = check_url(_variable(kind), url, _PROXY_SCHEMES, "http://proxy.example.com:3128")
    return scheme + url[len(scheme) :]  # in lower case: both libraries compare it as it is


def _variable(kind: str) -> str:
    """The variable that names the proxy of this kind, in the case in which it is set."""
    name = f"{kind}_proxy"
    return name.upper() if os.environ.get(name.upper()) else name


def check_proxy_variables() -> None:
    """Raises ConfigurationError, naming variable and value, for a proxy that cannot be used."""
    for kind, proxy in urllib.request.getproxies().items():
        if kind not in ("http", "https", "all") or not proxy:
            continue
        is_socks = _checked(kind, proxy).startswith("socks")
        if is_socks and importlib.util.find_spec("socksio") is None:
            raise ConfigurationError(
                f"{_variable(kind)} is {shown_setting(proxy)}, and the HTTP client needs a "
                'package for SOCKS: pip install "httpx[socks]"'
            )


def check_network(*urls: str | None) -> None:
    """Raises ConfigurationError for variables that ``urls`` cannot be reached with."""
    check_proxy_variables()
    # The list of certifi is always readable, and reading one takes tens of milliseconds.
    is_named = any(os.environ.get(name) for name in CA_VARIABLES)
    if is_named and any(url and url.startswith(("https:", "wss:")) for url in urls):
        tls_context()


def tls_context() -> ssl.SSLContext:
    """A verifying context for HTTPS and wss; honors SSL_CERT_FILE and SSL_CERT_DIR.

    Raises ConfigurationError when what they name cannot be read.
    """
    name = next((name for name in CA_VARIABLES if os.environ.get(name)), None)
    try:
        context = httpx.create_ssl_context(trust_env=True)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            f"the certificate authorities cannot be read: {name or 'the list of certifi'} is "
            f"{shown_value(os.environ.get(name or '', ''))} "
            f"({getattr(error, 'strerror', None) or error}); "
            "SSL_CERT_FILE has to name a readable PEM file, SSL_CERT_DIR a directory of them"
        ) from None
    if name == "SSL_CERT_DIR" and not os.path.isdir(os.environ[name]):
        raise ConfigurationError(
            f"SSL_CERT_DIR is {shown_value(os.environ[name])}, which is not a directory: name "
            "one with PEM files, or unset it"
        )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
