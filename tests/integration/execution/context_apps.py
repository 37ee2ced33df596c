"""Functions that set what must not be seen outside of an execution; importable by child processes.

Two executions of ``marks`` or ``fails`` are in the middle of their function together, or hang.
"""

import asyncio
import contextlib
import contextvars
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Final

import inngest
import sentry_sdk
from inngest.experimental.sentry_middleware import SentryMiddleware
from opentelemetry import baggage
from opentelemetry import context as telemetry
from sentry_sdk.integrations.threading import ThreadingIntegration

from inngest_connect import run_fields

APP: Final = "app"
LIMIT: Final = 20.0

CALLER = contextvars.ContextVar("caller", default="")
OWN = contextvars.ContextVar("own", default="")
ENTERED = contextvars.ContextVar("entered", default="")
LEFT: list[str] = []
"""Run ids of executions whose context was left."""
EVENTS: list[dict[str, Any]] = []
"""What went to Sentry."""


class Nowhere(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope: object) -> None: ...


def keep(event: Any, hint: object) -> Any:
    EVENTS.append(event)
    return event


def start_sentry() -> None:
    """With the integration that concerns pools of threads; no other one changes this process."""
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=Nowhere,
        before_send=keep,
        default_integrations=False,
        integrations=[ThreadingIntegration()],
    )


if "TEST_CALLER" in os.environ:  # in a child process
    CALLER.set(os.environ["TEST_CALLER"])
    start_sentry()

client = inngest.Inngest(
    app_id=APP,
    api_base_url=os.environ.get("TEST_API_ORIGIN", "http://127.0.0.1:1"),
    is_production=False,
    middleware=[SentryMiddleware],
)
_trigger = inngest.TriggerEvent(event="test")
_barriers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Barrier]"
_barriers = weakref.WeakKeyDictionary()
_barrier = threading.Barrier(2)
_refusals = threading.Semaphore(1)


def seen() -> dict[str, Any]:
    scope = sentry_sdk.Scope.get_isolation_scope()
    return {
        "caller": CALLER.get(),
        "own": OWN.get(),
        "tag": scope._tags.get("own"),
        "baggage": baggage.get_baggage("own"),
        "log": run_fields()["run_id"],
        "entered": ENTERED.get(),
    }


def mark(value: str) -> None:
    OWN.set(value)
    sentry_sdk.set_tag("own", value)
    telemetry.attach(baggage.set_baggage("own", value))


async def together() -> None:
    barrier = _barriers.setdefault(asyncio.get_running_loop(), asyncio.Barrier(2))
    await asyncio.wait_for(barrier.wait(), LIMIT)


@client.create_function(fn_id="marks_async", trigger=_trigger, retries=0)
async def marks_async(ctx: inngest.Context) -> Any:
    mark(ctx.run_id)
    await together()
    return {"run": ctx.run_id, **seen()}


@client.create_function(fn_id="marks_sync", trigger=_trigger, retries=0)
def marks_sync(ctx: inngest.ContextSync) -> Any:
    mark(ctx.run_id)
    _barrier.wait(LIMIT)
    return {"run": ctx.run_id, **seen()}


@client.create_function(fn_id="fails_async", trigger=_trigger, retries=0)
async def fails_async(ctx: inngest.Context) -> None:
    await together()
    raise ValueError(ctx.run_id)


@client.create_function(fn_id="fails_sync", trigger=_trigger, retries=0)
def fails_sync(ctx: inngest.ContextSync) -> None:
    _barrier.wait(LIMIT)
    raise ValueError(ctx.run_id)


@client.create_function(fn_id="looks_async", trigger=_trigger, retries=1)
async def looks_async(ctx: inngest.Context) -> Any:
    return {"run": ctx.run_id, **seen()}


@client.create_function(fn_id="looks_sync", trigger=_trigger, retries=1)
def looks_sync(ctx: inngest.ContextSync) -> Any:
    return {"run": ctx.run_id, **seen()}


@client.create_function(fn_id="reported", trigger=_trigger, retries=0)
async def reported(ctx: inngest.Context) -> Any:
    """Run ids and tags of the events that went to Sentry, and the runs that were left."""
    events = [
        (event["exception"]["values"][-1]["value"], event["tags"]["inngest.run.id"])
        for event in EVENTS
    ]
    return {"events": events, "left": LEFT}


functions: list[inngest.Function[Any]] = [
    marks_async,
    marks_sync,
    fails_async,
    fails_sync,
    looks_async,
    looks_sync,
    reported,
]
apps = [(client, functions)]


@contextlib.contextmanager
def entered() -> Iterator[None]:
    run = run_fields()["run_id"]
    token = ENTERED.set(run)
    try:
        yield
    finally:
        ENTERED.reset(token)
        LEFT.append(run)


@contextlib.contextmanager
def refuses_once() -> Iterator[None]:
    if _refusals.acquire(blocking=False):
        raise ValueError("not yet")
    yield


@contextlib.contextmanager
def raises_on_leaving() -> Iterator[None]:
    yield
    raise ValueError("too late")
