"""Guard: which names are answered, and what a browser may do with an answer.

With DNS rebinding a foreign site has its own name resolve to this machine, and its script reads the
answers as those of that site. The browser sends the name in the Host header.
"""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inngest_connect_ready import MARK

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

HEADERS: Final = {
    # ``inngest-connect ready`` knows by it that a worker answers, and not another web server.
    MARK: "status",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware. ``allowed_hosts`` are names without ports; None allows every name."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str] | None) -> None:
        self._app = app
        self._allowed = None if allowed_hosts is None else {h.lower() for h in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it for its host."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if self._is_allowed(scope):
            await self._app(scope, receive, guarded)
            return
        text = "this name is not in the status server's allowed_hosts; use its address instead\n"
        await PlainTextResponse(text, 421)(scope, receive, guarded)

    def _is_allowed(self, scope: Scope) -> bool:
        if self._allowed is None:
            return True
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and host_name(hosts[0].decode("latin-1")) in self._allowed


def host_name(header: str) -> str:
    """The name in a Host header, in lower case, without brackets and port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
