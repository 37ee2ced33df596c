"""``state_json``: everything that is known of a worker, as one JSON object.

Ages and spans are seconds before ``at``, which is in Unix seconds, so a reader does not need this
machine's clock. Texts that came over the network are cleaned and redacted here.
"""

import dataclasses
import enum
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterable
from typing import Any, Final

from ..aio.clock import monotonic
from ..connection import WebSocketWorkerConnection
from ..core.events import Disconnected, ErrorOccurred, FunctionFailed, LeaseLost
from ..core.wire.remote_text import clean
from ..observability.debug_state import DebugState
from ..observability.health import Health
from ..observability.recent_activity import COLUMN_SECONDS, ErrorEvent, RecentActivity
from ..sdk.adapter import SDK_LANGUAGE, SDK_VERSION
from ..state_machine import StateChange

PAGE_REQUESTS: Final = 100
"""Requests in flight that the page lists, the oldest ones."""

Json = dict[str, Any]


def state_json(
    worker: WebSocketWorkerConnection,
    recent: RecentActivity,
    state: DebugState,
    health: Health,
    most_requests: int | None = None,
) -> str:
    """JSON on one line of the snapshot ``state`` and what goes with it.

    ``most_requests`` limits the list of requests in flight, to the oldest ones; None lists all.
    """
    now = monotonic()
    history = worker.get_state_history()
    columns = [dataclasses.asdict(column) for column in recent.columns()]
    reconnecting = recent.reconnecting()
    body: Json = {
        "at": time.time(),
        "health": {"live": health.live, "ready": health.ready, **dataclasses.asdict(health)},
        "versions": _versions(),
        "state": {
            name: _plain(getattr(state, name)) for name in state.__slots__ if name != "in_flight"
        },
        "history": [
            {
                "previous": change.previous.value,
                "state": change.state.value,
                "event": change.event.value,
                "age": now - change.at,
            }
            for change in history
        ],
        "watched": recent.age(),
        "timeline": timeline(state, history, now),
        "reconnecting": reconnecting
        and {
            "failures": reconnecting[1].failures,
            "next_attempt": max(reconnecting[0] + reconnecting[1].delay - now, 0.0),
            "cause": clean(reconnecting[1].cause),
        },
        "rates": {
            "column_seconds": COLUMN_SECONDS,
            "last_minute": dataclasses.asdict(recent.last_seconds(60)),
            "columns": {name: [column[name] for column in columns] for name in columns[0]},
        },
        "errors": errors(recent.errors(), now),
    }
    body = worker.redact(body)
    # Requests consist of ids, which the snapshot has redacted, and are by far the largest part.
    body["state"]["in_flight"] = [
        {name: getattr(request, name) for name in request.__slots__}
        for request in state.in_flight[:most_requests]
    ]
    body["state"]["in_flight_total"] = len(state.in_flight)
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def _versions() -> Json:
    try:
        package = importlib.metadata.version("inngest-connect")
    except importlib.metadata.PackageNotFoundError:
        package = "unknown"  # a source tree that is not installed
    return {
        "inngest_connect": package,
        "sdk": f"{SDK_LANGUAGE} {SDK_VERSION}",
        "python": platform.python_version(),
    }


def _plain(value: Any) -> Any:
    match value:
        case enum.Enum():
            return value.value
        case str():
            return clean(value)
        case tuple():
            return [_plain(one) for one in value]
        case dict():
            return {clean(key): _plain(one) for key, one in value.items()}
        case _:
            return value


def timeline(state: DebugState, history: Iterable[StateChange], now: float) -> list[Json]:
    """The states one after the other, each with when it began and ended.

    The beginning of the first one is not known: None.
    """
    spans: list[Json] = []
    begun: float | None = None
    for change in history:
        ended = now - change.at
        spans.append({"state": change.previous.value, "begun": begun, "ended": ended})
        begun = ended
    spans.append({"state": state.state.value, "begun": begun, "ended": 0.0})
    return spans


def errors(events: Iterable[tuple[float, ErrorEvent]], now: float) -> list[Json]:
    """Newest first. Equal errors in a row are one entry with a count and the last one's age."""
    entries: list[Json] = []
    for at, event in events:
        entry = _error(event)
        if entries and entry.items() <= entries[-1].items():
            entries[-1]["count"] += 1
            entries[-1]["age"] = now - at
        else:
            entries.append({**entry, "count": 1, "age": now - at})
    return entries[::-1]


def _error(event: ErrorEvent) -> Json:
    kind, connection_id, request_id = event.name, None, None
    match event:
        case ErrorOccurred():
            kind, message = event.kind, event.message
            connection_id, request_id = event.connection_id, event.request_id
        case FunctionFailed():
            request_id = event.request_id
            step = f" in the step {event.step!r}" if event.step else ""
            message = f"{event.function_slug} raised{step} {event.error or 'an exception'}"
        case Disconnected():
            connection_id = event.connection_id
            reason = f": {event.reason}" if event.reason else ""
            message = f"the connection was lost, code {event.code}{reason}"
        case LeaseLost():
            request_id = event.request_id
            message = f"the lease of a request for {event.function_slug} was lost"
        case _:
            connection_id, message = event.connection_id, event.message
    return {
        "kind": kind,
        # A message of this package is printed in full; parts from the network are short already.
        "message": message if message.isprintable() else clean(message),
        "connection_id": connection_id,
        "request_id": request_id,
    }
