"""Realtime: the endpoints of the API that ``inngest.experimental.realtime`` calls."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Realtime:
    """Keeps what is published; nothing can subscribe to it."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        """Each with "channel", "topic" and "data"."""
        self.routes = [
            Route("/v1/realtime/publish", self._publish, methods=["POST"]),
            Route("/v1/realtime/token", self._token, methods=["POST"]),
        ]

    async def _publish(self, request: Request) -> Response:
        channel, topic = (request.query_params.get(name) for name in ("channel", "topic"))
        self.published.append({"channel": channel, "topic": topic, "data": await request.json()})
        return JSONResponse({})

    async def _token(self, request: Request) -> Response:
        return JSONResponse({"jwt": "a-token-of-the-test-kit"})
