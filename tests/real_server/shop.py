"""Functions that are run through the official server, and what they have seen."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import inngest

LARGE = 3 * 1024 * 1024
"""Bytes of an output, below the server's 4 MiB."""


@dataclass
class Shop:
    """One app. ``seen`` has the run ids of each function, once for each execution."""

    url: str
    name: str
    seen: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = inngest.Inngest(
            app_id=self.name,
            api_base_url=self.url,
            event_api_base_url=self.url,
            is_production=False,
        )

    def event(self, name: str) -> str:
        return f"{self.name}/{name}"

    def _saw(self, name: str, ctx: inngest.Context | inngest.ContextSync) -> int:
        self.seen[name].append(ctx.run_id)
        self.changed.set()
        return len(self.seen[name])

    async def run_of(self, name: str, count: int = 1, limit: float = 120.0) -> str:
        """Wait until a function was executed so often; returns the id of its newest run."""
        async with asyncio.timeout(limit):
            while len(self.seen[name]) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.seen[name][-1]

    @property
    def functions(self) -> list[inngest.Function[Any]]:
        def trigger(name: str) -> inngest.TriggerEvent:
            return inngest.TriggerEvent(event=self.event(name))

        create = self.client.create_function

        @create(fn_id="hello", trigger=trigger("hello"), retries=0)
        async def hello(ctx: inngest.Context) -> str:
            self._saw("hello", ctx)
            return f"hello {ctx.event.data.get('name')}"

        @create(fn_id="steps", trigger=trigger("steps"), retries=0)
        async def steps(ctx: inngest.Context) -> list[int]:
            self._saw("steps", ctx)

            async def number(value: int) -> int:
                return value

            first = await ctx.step.run("first", number, 1)
            both = await ctx.group.parallel(
                (
                    lambda: ctx.step.run("left", number, 2),
                    lambda: ctx.step.run("right", number, 3),
                )
            )
            await ctx.step.sleep("a moment", 100)
            return [first, *both]

        @create(fn_id="flaky", trigger=trigger("flaky"), retries=1)
        async def flaky(ctx: inngest.Context) -> str:
            self._saw("flaky", ctx)
            if ctx.attempt == 0:
                raise inngest.RetryAfterError("not yet", 1000)
            return f"attempt {ctx.attempt}"

        async def on_failure(ctx: inngest.Context) -> None:
            error: Any = ctx.event.data["error"]
            self.failures.append(str(error["message"]))
            self._saw("on_failure", ctx)

        @create(fn_id="broken", trigger=trigger("broken"), retries=0, on_failure=on_failure)
        async def broken(ctx: inngest.Context) -> None:
            self._saw("broken", ctx)
            raise ValueError("this never works")

        @create(fn_id="large", trigger=trigger("large"), retries=0)
        async def large(ctx: inngest.Context) -> str:
            self._saw("large", ctx)
            return "x" * LARGE

        @create(fn_id="long", trigger=trigger("long"), retries=1)
        async def long(ctx: inngest.Context) -> str:
            self._saw("long", ctx)
            await asyncio.sleep(float(str(ctx.event.data["seconds"])))
            return f"attempt {ctx.attempt}"

        @create(fn_id="blocking", trigger=trigger("blocking"), retries=0)
        async def blocking(ctx: inngest.Context) -> str:
            self._saw("blocking", ctx)
            time.sleep(float(str(ctx.event.data["seconds"])))  # noqa: ASYNC251 - what it is for
            return "done"

        @create(fn_id="in-a-thread", trigger=trigger("in-a-thread"), retries=0)
        def in_a_thread(ctx: inngest.ContextSync) -> str:
            return f"hello {ctx.event.data.get('name')}"

        return [hello, steps, flaky, broken, large, long, blocking, in_a_thread]
