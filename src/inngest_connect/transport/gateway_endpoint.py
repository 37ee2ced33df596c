"""Which gateway address do we dial, and may we?

The address decides who receives the session token, so it is checked after the user's rewrite and
before every dial.
"""

import urllib.parse

from ..aio.hook import Hook, HookFailed
from ..core.wire.user_text import class_name, is_a
from .urls import is_plain, shown_url


async def endpoint_to_dial(
    named: str, api_origin: str, *, gateway_url: str | None, rewrite: Hook | None
) -> str:
    """The user's address, or the one ``named`` by the API; checked after the user's ``rewrite``.

    Raises ValueError when it is refused, and HookFailed when ``rewrite`` gives no address.
    """
    endpoint = gateway_url or named
    if rewrite is None:
        return check_gateway_endpoint(endpoint, api_origin, rewritten=endpoint != named)
    answer = await rewrite.call(endpoint)
    if not is_a(answer, str):
        raise HookFailed(
            f"{rewrite.name} returned a value of type {class_name(answer)}; "
            "it has to return the URL to dial, a str"
        )
    rewritten = str.__str__(answer)  # of a subclass, too
    try:
        return check_gateway_endpoint(rewritten, api_origin, rewritten=rewritten != named)
    except ValueError as error:
        raise HookFailed(f"{rewrite.name} returned an address that is refused: {error}") from None


def check_gateway_endpoint(endpoint: str, api_origin: str, *, rewritten: bool) -> str:
    """Return ``endpoint``. Raises ValueError, naming it and the remedy, when it is refused."""
    shown = shown_url(endpoint)
    try:
        parts = urllib.parse.urlsplit(endpoint)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"the gateway address {shown!r} is not a URL") from None
    if not is_plain(endpoint):
        # A zero byte ends the name for the resolver, and a space the path for the server.
        raise ValueError(
            f"the gateway address {shown!r} has a space, a control character or a letter outside "
            "ASCII; refused"
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError(
            f"the gateway address {shown!r} has user information or a fragment; refused"
        )
    if parts.scheme not in ("ws", "wss") or not parts.hostname or not port_is_valid:
        raise ValueError(f"the gateway address {shown!r} is not a ws:// or wss:// URL with a host")
    if parts.scheme == "ws" and not rewritten and api_origin.startswith("https:"):
        raise ValueError(
            f"the API {shown_url(api_origin)} named an unencrypted gateway {shown!r}: the session "
            "token would travel in clear. If that is intended, pass gateway_url or "
            "rewrite_gateway_endpoint"
        )
    return endpoint
