"""Which gateway address is dialed, and whether it may be.

The address decides who receives the session token, so it is checked after the user's rewrite and
before every dial.
"""

import urllib.parse

from ..aio.hook import Hook, HookFailed
from ..core.wire.user_text import class_name, is_a
from .urls import shown_setting, shown_url, url_problem


async def endpoint_to_dial(
    named: str, api_origin: str, *, gateway_url: str | None, rewrite: Hook | None
) -> str:
    """The user's address, or the one ``named`` by the API; checked after the user's ``rewrite``.

    Raises ValueError when it is refused, and HookFailed when ``rewrite`` returns no address.
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
    problem = url_problem(endpoint, ("ws", "wss"), user=False)
    if problem is not None:
        raise ValueError(f"the gateway address {shown_setting(endpoint)} is refused: {problem}")
    scheme = urllib.parse.urlsplit(endpoint).scheme  # in lower case
    if scheme == "ws" and not rewritten and api_origin.startswith("https:"):
        raise ValueError(
            f"the API {shown_url(api_origin)} named an unencrypted gateway "
            f"{shown_setting(endpoint)}: the session token would travel in clear. If that is "
            "intended, pass gateway_url or rewrite_gateway_endpoint"
        )
    return endpoint
