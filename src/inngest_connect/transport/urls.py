"""Addresses and names that a user sets: how they are checked, and how URLs are shown."""

import urllib.parse
from collections.abc import Collection
from typing import Final

from ..core.wire.user_text import shown_value
from ..errors import ConfigurationError

_MASK: Final = "***"


def shown_url(url: str) -> str:
    """``url`` without user information, whatever else is wrong with it.

    Everything between the scheme and the last "@" counts, because a password that is not
    percent-encoded may contain any character.
    """
    at = url.rfind("@")
    begin = url.find("://")
    begin = begin + 3 if begin >= 0 else 0
    return url if at < begin else f"{url[:begin]}{_MASK}{url[at:]}"


def without_user_information(text: str) -> str:
    """``text`` with each URL in it as ``shown_url`` shows it. Linear in the length of ``text``."""
    if "@" not in text or "://" not in text:
        return text
    return " ".join(shown_url(word) if "://" in word else word for word in text.split(" "))


def is_plain(text: str) -> bool:
    """Whether ``text`` is ASCII without spaces and control characters, as headers and URLs are."""
    return text.isascii() and text.isprintable() and " " not in text


def check_url(
    name: str, url: str, schemes: Collection[str], example: str
) -> urllib.parse.SplitResult:
    """The parts of ``url``. Raises ConfigurationError, naming ``name`` and what is wrong."""
    problem = None
    try:
        parts = urllib.parse.urlsplit(url)
        if not is_plain(url):
            # urlsplit() removes some of these without a word, and the dialing library does not.
            problem = "it has a space, a line end or a letter outside ASCII"
        elif parts.scheme not in schemes:
            problem = f"its scheme is not {' or '.join(f'{one}://' for one in schemes)}"
        elif not parts.hostname:
            problem = "it has no host"
        elif parts.port == 0:
            problem = "its port is 0"
        elif parts.fragment:
            problem = "it has a fragment"
        elif "://" in parts.path or parts.path.startswith("//"):
            problem = "it has two schemes"
    except ValueError as error:
        problem = "its port is not a number from 1 to 65535" if "ort" in str(error) else "no URL"
    if problem is not None:
        raise ConfigurationError(
            f"{name} is {shown_value(shown_url(url))}, which cannot be used: {problem}; set a "
            "URL such as "
            f"{example!r}"
        )
    return parts
