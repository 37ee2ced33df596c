"""Checks 8 and 9: the gateway's address, name and TLS, and the WebSocket upgrade."""

import asyncio
import re
from typing import Final

from ...aio.hook import Hook, HookFailed
from ...core.wire.remote_text import clean
from ...protocol import SUBPROTOCOL
from ...transport.environment import proxy_for, tls_context
from ...transport.gateway_endpoint import endpoint_to_dial
from .conversation import Conversation
from .examination import Examination
from .findings import Finding, Mark, failed
from .network import DEV_GATEWAY_PORT, DEV_SERVER_PORT, Endpoint, ProxyRefused, reach, resolve
from .tls import examine_tls

_SETTING: Final = "the API's answer, or INNGEST_CONNECT_GATEWAY_URL"
_ADDRESS: Final = (
    "Set INNGEST_CONNECT_GATEWAY_URL to an address that works from here; in containers the API of "
    "a development server names a host that only its own machine knows"
)
_UPGRADE_STATUS: Final = {
    400: "A proxy on the way may remove the Upgrade header: let it pass WebSockets through",
    401: "Something before the gateway requires credentials: let this machine pass, or set "
    "INNGEST_CONNECT_GATEWAY_URL to the gateway itself",
    403: "A firewall or a proxy before the gateway refuses it: it has to allow WebSockets",
    404: "No gateway answers at this path: check INNGEST_CONNECT_GATEWAY_URL (.../v0/connect)",
    407: "The proxy requires credentials: put them into HTTPS_PROXY",
    426: "A proxy on the way may remove the Upgrade header: let it pass WebSockets through",
    429: "Too many concurrent connections: run fewer workers, or try again later",
}


async def check_gateway(examination: Examination) -> Finding:
    """Puts the address to dial into ``examination``; then its name, addresses and TLS."""
    assert examination.answer is not None
    options = examination.subject.options
    named = examination.answer.gateway_endpoint
    rewrite = options.rewrite_gateway_endpoint
    try:
        url = await endpoint_to_dial(
            named,
            examination.subject.client.api_origin,
            gateway_url=options.gateway_url,
            rewrite=rewrite
            and Hook("rewrite_gateway_endpoint", rewrite, asyncio.get_running_loop()),
        )
        endpoint = Endpoint.of(url, proxy_for(url))
    except (ValueError, HookFailed) as error:
        return failed(clean(str(error)), _ADDRESS)
    examination.gateway_url = url
    found = []
    if endpoint.proxy is not None:  # it resolves and connects
        try:
            found.append(await examine_tls(endpoint, examination.timeout))
        except ProxyRefused as refused:
            found.append(failed(str(refused), refused.remedy))
    else:
        found.append(await resolve(endpoint, examination.timeout, _SETTING))
        if found[-1].mark is not Mark.FAIL:
            found.append(await reach(endpoint, examination.timeout, _SETTING))
        if found[-1].mark is not Mark.FAIL and endpoint.encrypted:
            found.append(await examine_tls(endpoint, examination.timeout))
    instead = f" (instead of {clean(named)})" if url != named else ""
    return Finding(
        f"{clean(url)}{instead}: {found[-1].summary}",
        tuple(problem for one in found for problem in one.problems),
        tuple(line for one in found for line in one.details),
        {key: value for one in found for key, value in one.data.items()}
        | {"url": clean(url), "named_by_api": clean(named)},
    )


async def check_upgrade(examination: Examination) -> Finding:
    """Leaves the open socket in ``examination.conversation``."""
    url, subject = examination.gateway_url, examination.subject
    conversation = Conversation(subject.identity, subject.options.max_message_bytes)
    examination.conversation = conversation
    closed = await conversation.open(
        url,
        timeout=examination.timeout,
        ssl_context=tls_context() if url.startswith("wss:") else None,
        proxy=proxy_for(url),
    )
    if closed is None:
        return Finding(f"101, subprotocol {SUBPROTOCOL}", data={"subprotocol": SUBPROTOCOL})
    text = closed.error or f"closed with {closed.code} {closed.reason}"
    status = re.search(r"HTTP (\d{3})$", text)
    code = int(status[1]) if status else 0
    if Endpoint.of(url, None).port == DEV_SERVER_PORT:
        return failed(
            f"{clean(url)} is no gateway: {DEV_SERVER_PORT} is the port of the API, and the "
            f"gateway listens on {DEV_GATEWAY_PORT} ({text})",
            "Set INNGEST_CONNECT_GATEWAY_URL (or gateway_url=) to "
            f"{clean(url.replace(f':{DEV_SERVER_PORT}', f':{DEV_GATEWAY_PORT}'))}, or unset it",
        )
    if not code and "subprotocol" in text:
        remedy = "Check the gateway's address; a proxy must pass Sec-WebSocket-Protocol on"
    elif not code:
        remedy = "A proxy or firewall before the gateway may not let WebSockets through"
    elif 300 <= code < 400:
        remedy = "Redirects are not followed: set INNGEST_CONNECT_GATEWAY_URL to the final address"
    elif code >= 500:
        remedy = "The gateway, or a proxy before it, fails: try again; look at Inngest's status"
    else:
        remedy = _UPGRADE_STATUS.get(code, "Ask the operator of this address what the status means")
    return failed(text, remedy)
