"""Real Inngest functions for integration tests, and what they have seen."""

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import inngest

from inngest_connect.testing import EmbeddedGateway


@dataclass
class Seen:
    """What the functions recorded of themselves."""

    calls: Counter[str] = field(default_factory=Counter)
    threads: dict[str, str] = field(default_factory=dict)
    running: int = 0
    most_running: int = 0
    ids: list[tuple[str | None, str | None]] = field(default_factory=list)
    """Request and job, as the function's context names them; None where this SDK has no field."""
    started: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    thread_started: threading.Event = field(default_factory=threading.Event)
    thread_release: threading.Event = field(default_factory=threading.Event)
    two_running: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class App:
    client: inngest.Inngest
    functions: dict[str, inngest.Function[Any]]
    seen: Seen

    @property
    def pair(self) -> tuple[inngest.Inngest, list[inngest.Function[Any]]]:
        return self.client, list(self.functions.values())


def make_client(api_origin: str, app_id: str = "app", **options: Any) -> inngest.Inngest:
    return inngest.Inngest(
        app_id=app_id,
        api_base_url=api_origin,
        event_api_base_url=api_origin,
        **{"is_production": False, **options},
    )


def make_app(gateway: EmbeddedGateway | str, app_id: str = "app", **options: Any) -> App:
    """An app with one function of every kind."""
    origin = gateway if isinstance(gateway, str) else gateway.api_origin
    client = make_client(origin, app_id, **options)
    seen = Seen()

    def function(fn_id: str, **more: Any) -> Any:
        trigger = inngest.TriggerEvent(event=f"test/{fn_id}")
        return client.create_function(fn_id=fn_id, trigger=trigger, **more)

    @function("echo")
    async def echo(ctx: inngest.Context) -> Any:
        seen.calls["echo"] += 1
        seen.threads["echo"] = threading.current_thread().name
        seen.ids.append((getattr(ctx, "request_id", None), getattr(ctx, "job_id", None)))
        return dict(ctx.event.data)

    @function("sync")
    def sync(ctx: inngest.ContextSync) -> str:
        seen.calls["sync"] += 1
        seen.threads["sync"] = threading.current_thread().name
        return "from a thread"

    @function("thread", retries=0)
    def thread(ctx: inngest.ContextSync) -> str:
        """Runs in its thread until the test releases it."""
        seen.calls["thread"] += 1
        seen.thread_started.set()
        seen.thread_release.wait(30)
        return "too late"

    @function("steps")
    async def steps(ctx: inngest.Context) -> list[int]:
        async def double(value: int) -> int:
            seen.calls["step"] += 1
            return value * 2

        one = await ctx.step.run("one", double, 1)
        two = await ctx.step.run("two", double, one)
        return [one, two, await ctx.step.run("three", double, two)]

    @function("flaky", retries=2)
    async def flaky(ctx: inngest.Context) -> str:
        seen.calls["flaky"] += 1
        if ctx.attempt < 2:
            raise ValueError("not yet")
        return "at last"

    @function("hopeless", retries=1)
    async def hopeless(ctx: inngest.Context) -> None:
        seen.calls["hopeless"] += 1
        raise ValueError("never")

    @function("final", retries=3)
    async def final(ctx: inngest.Context) -> None:
        seen.calls["final"] += 1
        raise inngest.NonRetriableError("do not try again")

    @function("wait", retries=0)
    async def wait(ctx: inngest.Context) -> str:
        """Runs until the test releases it."""
        seen.calls["wait"] += 1
        seen.running += 1
        seen.most_running = max(seen.most_running, seen.running)
        seen.started.set()
        if seen.running == 2:
            seen.two_running.set()
        try:
            await seen.release.wait()
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise
        finally:
            seen.running -= 1
        return "released"

    @function("big", retries=0)
    async def big(ctx: inngest.Context) -> str:
        return "x" * int(str(ctx.event.data["size"]))

    @function("filler", retries=0)
    async def filler(ctx: inngest.Context) -> str:
        seen.calls["filler"] += 1
        return "x" * 300

    @function("exits", retries=0)
    def exits(ctx: inngest.ContextSync) -> None:
        raise SystemExit(3)

    functions = (echo, sync, thread, steps, flaky, hopeless, final, wait, big, filler, exits)
    return App(client, {each.local_id: each for each in functions}, seen)
