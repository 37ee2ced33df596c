"""``state_json``: everything that is known of a worker, as one JSON object.

Ages and spans are seconds before ``at``, which is in Unix seconds, so a reader does not need this
machine's clock. Texts that came over the network are cleaned and redacted here.
"""

import dataclasses
import enum
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ..aio.clock import monotonic
from ..connection import WebSocketWorkerConnection
from ..core.events import Disconnected, FunctionFailed, LeaseLost, WebSocketFailed
from ..core.wire.remote_text import clean
from ..observability.debug_state import ChildProcess, DebugState
from ..observability.error_figures import ErrorEvent, ErrorFigures, kind_of, message_of
from ..observability.health import Health
from ..observability.recent_activity import COLUMN_SECONDS, RecentActivity
from ..observability.situation import situation
from ..sdk.adapter import SDK_LANGUAGE, SDK_VERSION
from ..state_machine import HISTORY_LENGTH, StateChange
from ..transport.urls import shown_url
from .in_flight import by_function, oldest_of_each

Json = dict[str, Any]


def state_json(
    worker: WebSocketWorkerConnection,
    recent: RecentActivity,
    state: DebugState,
    health: Health,
    *,
    brief: bool = False,
) -> str:
    """JSON on one line of the snapshot ``state`` and what goes with it.

    All requests in flight, or for ``brief`` the oldest ones of each function.
    """
    now = monotonic()
    history = worker.get_state_history()
    columns = [dataclasses.asdict(column) for column in recent.columns()]
    rate_seconds, rates = recent.lately()
    present = situation(state, health, history, recent, now)
    body: Json = {
        "at": time.time(),
        "situation": {name: _plain(getattr(present, name)) for name in present.__slots__},
        "worker": _worker(worker),
        "health": {"live": health.live, "ready": health.ready, **dataclasses.asdict(health)},
        "versions": _versions(worker),
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
        "rates": {
            "column_seconds": COLUMN_SECONDS,
            "seconds": rate_seconds,
            "lately": dataclasses.asdict(rates),
            "columns": {name: [column[name] for column in columns] for name in columns[0]},
        },
        "errors_by_kind": errors_by_kind(recent.error_kinds, now),
        "errors": errors(recent.errors(), now),
        "functions": [dataclasses.asdict(row) for row in recent.functions.rows(now)],
    }
    body = worker.redact(body)
    # Requests consist of ids, which the snapshot has redacted, and are by far the largest part.
    shown = oldest_of_each(state.in_flight) if brief else state.in_flight
    body["state"]["in_flight"] = [
        {name: getattr(request, name) for name in request.__slots__} for request in shown
    ]
    body["state"]["in_flight_total"] = len(state.in_flight)
    body["in_flight_by_function"] = by_function(state.in_flight)
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def _worker(worker: WebSocketWorkerConnection) -> Json:
    """What does not change, except how long it has been running."""
    client, identity, options = worker.configuration
    return {
        "environment": client.env,
        "production": client.is_production,
        "api_origin": shown_url(worker.api_origin),
        "gateway_url": options.gateway_url and shown_url(options.gateway_url),
        "functions": {name: list(slugs) for name, slugs in worker.functions.items()},
        "uptime": max(time.time() - identity.started_at, 0.0),
        "process": os.getpid(),
    }


def _versions(worker: WebSocketWorkerConnection) -> Json:
    try:
        package = importlib.metadata.version("inngest-connect")
    except importlib.metadata.PackageNotFoundError:
        package = "unknown"  # a source tree that is not installed
    return {
        "inngest_connect": package,
        "sdk": f"{SDK_LANGUAGE} {SDK_VERSION}",
        "sdk_path": next(iter(worker.sdk_apps.values())).path,
        "python": platform.python_version(),
    }


def _plain(value: Any) -> Any:
    match value:
        case enum.Enum():
            return value.value
        case ChildProcess():
            return dataclasses.asdict(value)
        case str():
            return clean(value)
        case tuple():
            return [_plain(one) for one in value]
        case dict():
            return {clean(key): _plain(one) for key, one in value.items()}
        case _:
            return value


def timeline(state: DebugState, history: Sequence[StateChange], now: float) -> list[Json]:
    """The states one after the other, each with when it began and ended.

    The first one was there from the beginning: None. It is left out when that is forgotten.
    """
    spans: list[Json] = []
    begun: float | None = None
    for change in history:
        ended = now - change.at
        spans.append({"state": change.previous.value, "begun": begun, "ended": ended})
        begun = ended
    spans.append({"state": state.state.value, "begun": begun, "ended": 0.0})
    return spans if len(history) < HISTORY_LENGTH else spans[1:]


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


def errors_by_kind(figures: ErrorFigures, now: float) -> list[Json]:
    """Since the start, those that still matter first; then the one that happened last."""
    is_resolved = figures.resolved(now)
    entries = [
        {
            **_error(kind.last),
            "kind": kind.kind,
            "count": kind.count,
            "first_age": now - kind.first_at,
            "age": now - kind.last_at,
            "resolved": is_resolved(kind),
        }
        for kind in figures.kinds()
    ]
    return sorted(entries, key=lambda entry: entry["resolved"])  # stable


def _error(event: ErrorEvent) -> Json:
    connection_id, request_id = None, None
    if not isinstance(event, FunctionFailed | LeaseLost):
        connection_id = event.connection_id
    if not isinstance(event, Disconnected | WebSocketFailed):
        request_id = event.request_id
    return {
        "kind": kind_of(event),
        "message": message_of(event),
        "connection_id": connection_id,
        "request_id": request_id,
    }
