"""What type checkers know of ``add_event_listener``: mypy checks this file with all others."""

import typing
from typing import Any, get_args

import inngest
import pytest

from inngest_connect import (
    ConfigurationError,
    Connected,
    ErrorOccurred,
    WebSocketWorkerConnection,
    connect,
)
from inngest_connect.core.events import EVENTS
from inngest_connect.observability.callbacks import EVENT_NAMES
from inngest_connect.observability.listeners import EventListeners, EventName

pytestmark = pytest.mark.unit


@pytest.fixture
def worker() -> WebSocketWorkerConnection:
    client = inngest.Inngest(app_id="app", is_production=False)

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"))
    async def f(ctx: inngest.Context) -> None: ...

    return connect([(client, [f])])


def report(error: ErrorOccurred) -> str:
    return error.kind


async def report_later(error: ErrorOccurred) -> None: ...


def test_a_callback_gets_the_event_of_its_name(worker: WebSocketWorkerConnection) -> None:
    worker.add_event_listener("error", report)
    worker.add_event_listener("error", report_later)
    worker.add_event_listener("connected", lambda event: event.gateway_group)
    worker.add_event_listener("heartbeat", print)
    worker.remove_event_listener("error", report)


def test_a_wrong_name_is_an_error_for_type_checkers_too(worker: WebSocketWorkerConnection) -> None:
    """An unused ``type: ignore`` fails the check of types."""
    with pytest.raises(ConfigurationError, match="did you mean 'error'"):
        worker.add_event_listener("errors", report)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="did you mean 'error'"):
        worker.remove_event_listener("errors", report)  # type: ignore[arg-type]
    worker.add_event_listener("connected", report)  # type: ignore[call-overload]
    worker.add_event_listener("error", lambda event: event.nope)  # type: ignore[call-overload]

    def connected(event: Connected) -> None: ...

    worker.add_event_listener("disconnected", connected)  # type: ignore[call-overload]


def test_there_is_an_overload_for_every_event() -> None:
    def types_of(overload: Any) -> tuple[str, type]:
        hints = typing.get_type_hints(overload)
        return get_args(hints["name"])[0], get_args(hints["callback"])[0][0]

    overloads = map(types_of, typing.get_overloads(EventListeners.add_event_listener))

    assert list(overloads) == [(event.name, event) for event in EVENTS]
    assert get_args(EventName) == EVENT_NAMES
