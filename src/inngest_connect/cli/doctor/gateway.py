"""Checks 8 and 9: the gateway's address, name and TLS, and the WebSocket upgrade."""

import asyncio
import re
from typing import Final

from ...aio.hook import Hook
from ...core.wire.remote_text import clean
from ...errors import ConfigurationError
from ...protocol import SUBPROTOCOL
from ...transport.environment import proxy_for, tls_context
from ...transport.gateway_endpoint import endpoint_to_dial
from .examination import Endpoint, Examination
from .findings import Finding, Mark, failed
from .network import reach, resolve
from .proxies import ProxyRefused, shown
from .session import Session
from .tls import examine

_ADDRESS: Final = (
    "Set INNGEST_CONNECT_GATEWAY_URL to an address that works from here; in containers the API of "
    "a development server names a host that only its own machine knows"
)
_UPGRADE_STATUS: Final = {
    400: "A proxy on the way may remove the Upgrade header: let it pass WebSockets through",
    401: "Something before the gateway wants credentials: let this machine pass, or set "
    "INNGEST_CONNECT_GATEWAY_URL to the gateway itself",
    403: "A firewall or a proxy before the gateway refuses it: it has to allow WebSockets",
    404: "No gateway answers at this path: check INNGEST_CONNECT_GATEWAY_URL (.../v0/connect)",
    407: "The proxy wants credentials: put them into HTTPS_PROXY",
    426: "A proxy on the way may remove the Upgrade header: let it pass WebSockets through",
    429: "Too many connections at once: run fewer workers, or try again later",
}


async def check_gateway(examination: Examination) -> Finding:
    """Puts the address to dial into ``examination``."""
    assert examination.api is not None
    assert examination.answer is not None
    options = examination.subject.options
    named = examination.answer.gateway_endpoint
    rewrite = options.rewrite_gateway_endpoint
    hook = rewrite and Hook("rewrite_gateway_endpoint", rewrite, asyncio.get_running_loop())
    try:
        url = await endpoint_to_dial(
            named,
            examination.api.api_origin,
            gateway_url=options.gateway_url,
            rewrite=hook,
        )
        endpoint = Endpoint.of(url, proxy_for(url))
    except ConfigurationError as error:
        return failed(str(error), "Set HTTPS_PROXY to a proxy that carries WebSockets")
    except Exception as error:  # noqa: BLE001 - the user's rewrite may raise anything
        return failed(clean(str(error)) or type(error).__name__, _ADDRESS)
    examination.gateway_url = url
    finding = await _way_to(endpoint, examination.timeout)
    instead = f" (instead of {clean(named)})" if url != named else ""
    data = {**finding.data, "url": clean(url), "named_by_api": clean(named)}
    return Finding(
        f"{clean(url)}{instead}: {finding.summary}", finding.problems, finding.details, data
    )


async def _way_to(endpoint: Endpoint, timeout: float) -> Finding:
    """Name, addresses and TLS of the gateway; or the tunnel of a proxy, and TLS."""
    if endpoint.proxy is not None:
        try:
            return await examine(endpoint, timeout)
        except ProxyRefused as refused:
            return failed(f"{shown(endpoint.proxy)}: {refused}", refused.remedy)
    found = [await resolve(endpoint, timeout)]
    if found[-1].mark is not Mark.FAIL:
        found.append(await reach(endpoint, timeout))
    if found[-1].mark is not Mark.FAIL and endpoint.encrypted:
        found.append(await examine(endpoint, timeout))
    problems = tuple(problem for one in found for problem in one.problems)
    details = tuple(line for one in found for line in one.details)
    data = {key: value for one in found for key, value in one.data.items()}
    return Finding(found[-1].summary, problems, details, data)


async def check_upgrade(examination: Examination) -> Finding:
    """Leaves the open socket in ``examination.session``."""
    url = examination.gateway_url
    session = Session(examination.subject.options.max_message_bytes)
    examination.session = session
    closed = await session.open(
        url,
        timeout=examination.timeout,
        ssl_context=tls_context() if url.startswith("wss:") else None,
        proxy=proxy_for(url),
    )
    if closed is None:
        return Finding(f"101, subprotocol {SUBPROTOCOL}", data={"subprotocol": SUBPROTOCOL})
    text = clean(closed.error or f"closed with {closed.code} {closed.reason}")
    return failed(text, _upgrade_remedy(text))


def _upgrade_remedy(text: str) -> str:
    status = re.search(r"HTTP (\d{3})$", text)
    if status is None:
        if "subprotocol" in text:
            return "Check the gateway's address; a proxy must pass Sec-WebSocket-Protocol on"
        return "A proxy or firewall before the gateway may not let WebSockets through"
    code = int(status[1])
    if 300 <= code < 400:
        return "Redirects are not followed: set INNGEST_CONNECT_GATEWAY_URL to the final address"
    if code >= 500:
        return "The gateway, or a proxy before it, is in trouble: try again; see Inngest's status"
    return _UPGRADE_STATUS.get(code, "Look the status up at whoever runs this address")
