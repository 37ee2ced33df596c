"""What the process environment says about the network: proxies and certificate authorities.

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
from .urls import check_url, shown_setting

# Not socks4: the HTTP client does not speak it.
_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_VARIABLE_SCHEMES: Final = {"wss": "https", "https": "https", "http": "http"}
_PORTS: Final = {"wss": 443, "https": 443, "http": 80}


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for ``url``, None for a direct connection.

    Decides for the HTTP calls and for the WebSocket alike. Reads HTTPS_PROXY, ALL_PROXY and
    NO_PROXY, in upper or lower case, for ``http://`` HTTP_PROXY. Raises ConfigurationError for a
    proxy that cannot be used, instead of connecting without it.
    """
    parts = urllib.parse.urlsplit(url)
    scheme = _VARIABLE_SCHEMES.get(parts.scheme)
    if scheme is None or parts.hostname is None:
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None
    if not urllib.request.getproxies_environment() and urllib.request.proxy_bypass(parts.hostname):
        return None  # the settings of macOS or Windows
    port = parts.port or _PORTS[parts.scheme]
    if _is_excepted(parts.scheme, parts.hostname, port, proxies.get("no", "")):
        return None
    return _checked(_variable(scheme if proxies.get(scheme) else "all"), proxy)


def _checked(name: str, proxy: str) -> str:
    """The URL of the proxy that the variable names. Raises ConfigurationError."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    scheme = check_url(name, url, _PROXY_SCHEMES, "http://proxy.example.com:3128")
    return scheme + url[len(scheme) :]  # in lower case: both libraries compare it as it is


def _variable(kind: str) -> str:
    """The variable that names the proxy of this kind, in the case in which it is set."""
    name = f"{kind}_proxy"
    return name.upper() if os.environ.get(name.upper()) else name


def _is_excepted(scheme: str, host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host.

    Entries are separated by commas: ``*``, a host with all hosts below it (a leading dot or ``*.``
    says the same), an address, a network such as ``10.0.0.0/8``, each with an optional scheme and
    port. Names are not resolved.
    """
    host = host.rstrip(".").lower()
    for entry in no_proxy.lower().replace(",", " ").split():
        only_scheme, separator, name = entry.rpartition("://")
        if separator and only_scheme not in (scheme, _VARIABLE_SCHEMES[scheme], "all"):
            continue
        name, only_port = _split_port(name)
        if only_port is not None and only_port != port:
            continue
        name = name.removeprefix("*.").lstrip(".").rstrip(".")
        if name == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            pass  # names
    return False


def _split_port(name: str) -> tuple[str, int | None]:
    """Host and port of ``host``, ``host:port``, ``::1``, ``[::1]`` or ``[::1]:port``."""
    host, _, port = name.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if port.isdecimal() and host and (":" not in host or bracketed):
        return host.strip("[]"), int(port)
    return name.strip("[]"), None


def check_proxy_variables() -> None:
    """Raises ConfigurationError, naming variable and value, for a proxy that cannot be used."""
    for kind, proxy in urllib.request.getproxies().items():
        if kind not in ("http", "https", "all") or not proxy:
            continue
        name = _variable(kind)
        if (
            _checked(name, proxy).startswith("socks")
            and importlib.util.find_spec("socksio") is None
        ):
            raise ConfigurationError(
                f"{name} is {shown_setting(proxy)}, and the HTTP client needs a "
                'package for SOCKS: pip install "httpx[socks]"'
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
