"""The report: everything that is known of a worker, as one JSON object.

Ages and spans are seconds before the report was made, so nobody needs this machine's clock; ``at``
is that moment in Unix seconds. Texts that came over the network are cleaned and redacted here.
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
from ..core.events import Disconnected, ErrorOccurred, LeaseLost
from ..core.wire.remote_text import clean
from ..observability.debug_state import DebugState, InFlightRequest
from ..observability.health import Health
from ..sdk.adapter import SDK_LANGUAGE, SDK_VERSION
from ..state_machine import StateChange
from .recorder import COLUMN_SECONDS, Recorder, Trouble

PAGE_REQUESTS: Final = 100
"""Requests in flight that the page lists, the oldest ones."""

Json = dict[str, Any]


def make_report(
    worker: WebSocketWorkerConnection,
    recorder: Recorder,
    health: Health,
    most_requests: int | None = None,
) -> Json:
    """``most_requests`` cuts the list of requests in flight; None lists all."""
    state = worker.get_debug_state()
    now = monotonic()
    listed = state.in_flight if most_requests is None else state.in_flight[:most_requests]
    history = worker.get_state_history()
    report: Json = {
        "at": time.time(),
        "health": {"live": health.live, "ready": health.ready, **dataclasses.asdict(health)},
        "versions": versions(),
        "state": _state(state),
        "history": [_change(change, now) for change in history],
        "watched": recorder.age(),
        "timeline": timeline(state, history, now),
        "reconnecting": _reconnecting(recorder, now),
        "rates": _rates(recorder),
        "errors": errors(recorder.troubles(), now),
    }
    report = worker.redact(report)
    # Ids only, and by far the most of it.
    report["state"]["in_flight"] = [_request(request) for request in listed]
    report["state"]["in_flight_total"] = len(state.in_flight)
    return report


def to_json(report: Json) -> str:
    """On one line, and safe inside an HTML script element."""
    text = json.dumps(report, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def versions() -> Json:
    """Of the software that this worker is made of."""
    return {
        "inngest_connect": _package_version(),
        "sdk": f"{SDK_LANGUAGE} {SDK_VERSION}",
        "python": platform.python_version(),
    }


def _package_version() -> str:
    try:
        return importlib.metadata.version("inngest-connect")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that is not installed


def _state(state: DebugState) -> Json:
    return {
        field.name: _plain(getattr(state, field.name))
        for field in dataclasses.fields(state)
        if field.name != "in_flight"
    }


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {clean(str(key)): _plain(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _request(request: InFlightRequest) -> Json:
    return {
        "request_id": clean(request.request_id),
        "run_id": clean(request.run_id),
        "function_slug": clean(request.function_slug),
        "progress": request.progress,
        "attempt_age": request.attempt_age,
        "lease_age": request.lease_age,
        "next_extension": request.next_extension,
    }


def _change(change: StateChange, now: float) -> Json:
    return {
        "previous": change.previous.value,
        "state": change.state.value,
        "event": change.event.value,
        "age": now - change.at,
    }


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


def _reconnecting(recorder: Recorder, now: float) -> Json | None:
    waiting = recorder.reconnecting()
    if waiting is None:
        return None
    at, observation = waiting
    return {
        "failures": observation.failures,
        "next_attempt": max(at + observation.delay - now, 0.0),
        "cause": clean(observation.cause),
    }


def _rates(recorder: Recorder) -> Json:
    columns = [dataclasses.asdict(column) for column in recorder.columns()]
    return {
        "column_seconds": COLUMN_SECONDS,
        "last_minute": dataclasses.asdict(recorder.last_seconds(60)),
        "columns": {name: [column[name] for column in columns] for name in columns[0]},
    }


def errors(troubles: Iterable[tuple[float, Trouble]], now: float) -> list[Json]:
    """Newest first; what was said several times in a row is counted."""
    told: list[Json] = []
    for at, trouble in troubles:
        entry = _error(trouble)
        if told and all(told[-1][key] == value for key, value in entry.items()):
            told[-1]["count"] += 1
            told[-1]["age"] = now - at
        else:
            told.append({**entry, "count": 1, "age": now - at})
    return told[::-1]


def _error(trouble: Trouble) -> Json:
    connection_id = request_id = None
    match trouble:
        case ErrorOccurred():
            kind, message = trouble.kind, trouble.message
            connection_id, request_id = trouble.connection_id, trouble.request_id
        case Disconnected():
            kind, connection_id = trouble.name, trouble.connection_id
            reason = f": {trouble.reason}" if trouble.reason else ""
            message = f"the connection was lost, code {trouble.code}{reason}"
        case LeaseLost():
            kind, request_id = trouble.name, trouble.request_id
            message = f"the lease of a request for {trouble.function_slug} was lost"
        case _:
            kind, message, connection_id = trouble.name, trouble.message, trouble.connection_id
    return {
        "kind": kind,
        "message": clean_long(message),
        "connection_id": connection_id,
        "request_id": request_id,
    }


def clean_long(text: str) -> str:
    """Our own sentences with remote texts in them: those are short already, the whole is not."""
    return text if text.isprintable() else clean(text)
