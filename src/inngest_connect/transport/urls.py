"""URLs and names from outside: how they are checked, and how they are shown."""

import urllib.parse
from collections.abc import Collection

from ..core.wire.user_text import is_a, shown_value
from ..errors import ConfigurationError


def shown_url(url: str) -> str:
    """``url`` without user information, whatever else is wrong with it.

    Everything between the scheme and the last "@" is masked, because a password that is not
    percent-encoded may contain any character.
    """
    at = url.rfind("@")
    begin = url.find("://")
    begin = begin + 3 if begin >= 0 else 0
    return url if at < begin else f"{url[:begin]}***{url[at:]}"


def host_and_port(host: str, port: int) -> str:
    """As they stand in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(url: str) -> bool:
    """Whether it names this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def shown_setting(value: object) -> str:
    """A wrong value that may be a URL, for an error message: short, printable, without secrets."""
    return shown_value(shown_url(str.__str__(value)) if is_a(value, str) else value)


def without_user_information(text: str) -> str:
    """``text`` with each URL in it as ``shown_url`` shows it. Linear in the length of ``text``."""
    if "@" not in text or "://" not in text:
        return text
    return " ".join(shown_url(word) if "://" in word else word for word in text.split(" "))


def is_plain(text: str) -> bool:
    """Whether ``text`` is ASCII without spaces and control characters, as headers and URLs are."""
    return text.isascii() and text.isprintable() and " " not in text


def check_plain(name: str, value: str) -> str:
    """Return ``value``, which ``name`` has. Raises ConfigurationError unless it is plain."""
    if not is_plain(value):
        raise ConfigurationError(
            f"{name} is {shown_setting(value)}; it takes ASCII characters without spaces"
        )
    return value


def check_url(
    name: str, url: str, schemes: Collection[str], example: str, *, user: bool = True
) -> str:
    """Return the scheme of ``url``. Raises ConfigurationError, naming ``name`` and the problem."""
    problem = url_problem(url, schemes, user=user)
    if problem is None:
        parts = urllib.parse.urlsplit(url)
        if "://" not in parts.path and not parts.path.startswith("//"):
            return parts.scheme
        problem = "it has two schemes"
    raise ConfigurationError(
        f"{name} is {shown_setting(url)}, which cannot be used: {problem}; set a URL such as "
        f"{example!r}"
    )


def url_problem(url: str, schemes: Collection[str], *, user: bool) -> str | None:
    """Why ``url`` cannot be dialed, None when it can; ``user``: may it have user information?"""
    try:
        parts = urllib.parse.urlsplit(url)
        if not is_plain(url):
            # urlsplit() removes line ends silently, and the dialing library does not. A zero byte
            # would end the name for the resolver, a space the path for the server.
            return "it has a space, a control character or a letter outside ASCII"
        if not user and "@" in parts.netloc:
            return "it has user information"
        if parts.scheme not in schemes:
            return f"its scheme is not {' or '.join(f'{one}://' for one in schemes)}"
        if not parts.hostname:
            return "it has no host"
        if parts.port == 0:
            return "its port is 0"
        return "it has a fragment" if parts.fragment else None
    except ValueError as error:
        port = "its port is not a number from 1 to 65535"
        return port if "ort" in str(error) else "it is not a URL"
