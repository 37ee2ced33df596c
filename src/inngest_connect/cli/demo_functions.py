"""The five Inngest functions of the demo, and what each has to return."""

import asyncio
import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import inngest

LEASE_SECONDS = 1.0
EXPORT_SECONDS = 3.5
"""Several leases long."""


@dataclass(frozen=True, slots=True)
class DemoFunction:
    """``expected`` gives the output for an event's data; ``weight`` is its share of the traffic."""

    function: inngest.Function[Any]
    expected: Callable[[dict[str, Any]], Any]
    weight: int


@dataclass(slots=True)
class Intended:
    """Failures that functions raised on purpose."""

    failures: int = 0


def demo_functions(client: inngest.Inngest, intended: Intended) -> dict[str, DemoFunction]:
    """Create the functions for a client."""

    @client.create_function(fn_id="greet", trigger=inngest.TriggerEvent(event="demo/greet"))
    async def greet(ctx: inngest.Context) -> str:
        await asyncio.sleep(0.005)
        return f"hello {ctx.event.data['number']}"

    @client.create_function(fn_id="resize", trigger=inngest.TriggerEvent(event="demo/resize"))
    def resize(ctx: inngest.ContextSync) -> int:
        time.sleep(0.01)
        return int(str(ctx.event.data["number"])) * 2

    @client.create_function(fn_id="order", trigger=inngest.TriggerEvent(event="demo/order"))
    async def order(ctx: inngest.Context) -> list[str]:
        async def step(name: str) -> str:
            await asyncio.sleep(0.002)
            return f"{name} {ctx.event.data['number']}"

        reserved = await ctx.step.run("reserve", step, "reserved")
        await ctx.step.sleep("let the payment settle", datetime.timedelta(hours=1))
        paid = await ctx.step.run("pay", step, "paid")
        shipped = await ctx.step.run("ship", step, "shipped")
        return [reserved, paid, shipped]

    @client.create_function(fn_id="export", trigger=inngest.TriggerEvent(event="demo/export"))
    async def export(ctx: inngest.Context) -> str:
        await asyncio.sleep(EXPORT_SECONDS)
        return f"export {ctx.event.data['number']}"

    @client.create_function(
        fn_id="flaky", trigger=inngest.TriggerEvent(event="demo/flaky"), retries=2
    )
    async def flaky(ctx: inngest.Context) -> str:
        if ctx.attempt == 0:
            intended.failures += 1
            raise RuntimeError("failing on purpose, to be retried")
        return f"succeeded at attempt {ctx.attempt + 1}"

    return {
        "greet": DemoFunction(greet, lambda data: f"hello {data['number']}", 5),
        "resize": DemoFunction(resize, lambda data: data["number"] * 2, 3),
        "order": DemoFunction(
            order,
            lambda data: [f"{word} {data['number']}" for word in ("reserved", "paid", "shipped")],
            2,
        ),
        "export": DemoFunction(export, lambda data: f"export {data['number']}", 1),
        "flaky": DemoFunction(flaky, lambda _: "succeeded at attempt 2", 2),
    }
