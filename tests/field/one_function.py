"""What most tests here need of a program: a client, and a worker with one function."""

from collections.abc import Callable
from typing import Any

import inngest

from inngest_connect import connect
from inngest_connect.connection import WebSocketWorkerConnection
from tests.integration.demo_apps import make_client


async def _nothing(ctx: inngest.Context) -> None:
    """For tests in which no function is called."""


def worker_of(
    api_origin: str,
    function: Callable[..., Any] = _nothing,
    *,
    client: dict[str, Any] | None = None,
    **options: Any,
) -> WebSocketWorkerConnection:
    """A silent worker without signal handlers, whose only function is "app-f".

    ``client`` has options of ``inngest.Inngest``, ``options`` are those of ``connect()``.
    """
    app = make_client(api_origin, **(client or {}))
    trigger = inngest.TriggerEvent(event="x")
    decorated = app.create_function(fn_id="f", trigger=trigger, retries=0)(function)
    return connect([(app, [decorated])], **{"shutdown_signals": [], "logger": False, **options})
