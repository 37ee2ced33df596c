"""The functions of every program here."""

import asyncio
import os
import time
from pathlib import Path

import inngest

client = inngest.Inngest(app_id="shop")
event = inngest.TriggerEvent(event="shop/event")


def may_return() -> bool:
    return Path(os.environ["GO"]).exists()


@client.create_function(fn_id="greet", trigger=event, retries=0)
async def greet(ctx: inngest.Context) -> str:
    return f"Hello, {ctx.event.data['name']}"


@client.create_function(fn_id="order", trigger=event, retries=0)
async def order(ctx: inngest.Context) -> list[int]:
    async def double(value: int) -> int:
        await asyncio.sleep(0)
        return value * 2

    one = await ctx.step.run("one", double, 1)
    return [one, await ctx.step.run("two", double, one)]


@client.create_function(fn_id="report", trigger=event, retries=0)
def report(ctx: inngest.ContextSync) -> str:
    return ctx.step.run("a-step", lambda: "on a thread")


@client.create_function(fn_id="decline", trigger=event, retries=0)
async def decline(ctx: inngest.Context) -> None:
    raise ValueError("declined")


@client.create_function(fn_id="ship", trigger=event, retries=0)
async def ship(ctx: inngest.Context) -> str:
    while not may_return():
        await asyncio.sleep(0.02)
    return "shipped"


@client.create_function(fn_id="pack", trigger=event, retries=0)
def pack(ctx: inngest.ContextSync) -> str:
    while not may_return():
        time.sleep(0.02)
    return "packed"


functions = [greet, order, report, decline, ship, pack]
apps = [(client, functions)]
