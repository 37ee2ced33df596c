"""The functions of a chaos run, and what each run has to return."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

import inngest

APP: Final = "chaos"
RETRIES: Final = 20
"""So many that a run fails only when something is really lost."""
_BIG: Final = 300_000


def make_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    """Return one function of every kind."""

    @client.create_function(fn_id="quick", trigger=_trigger("quick"), retries=RETRIES)
    async def quick(ctx: inngest.Context) -> Any:
        return ctx.event.data["n"]

    @client.create_function(fn_id="slow", trigger=_trigger("slow"), retries=RETRIES)
    async def slow(ctx: inngest.Context) -> Any:
        await asyncio.sleep(float(str(ctx.event.data["seconds"])))
        return ctx.event.data["n"]

    @client.create_function(fn_id="thread", trigger=_trigger("thread"), retries=RETRIES)
    def thread(ctx: inngest.ContextSync) -> Any:
        threading.Event().wait(0.05)
        return ctx.event.data["n"]

    @client.create_function(fn_id="steps", trigger=_trigger("steps"), retries=RETRIES)
    async def steps(ctx: inngest.Context) -> list[Any]:
        async def add(value: int) -> int:
            return value + 1

        one = await ctx.step.run("one", add, int(str(ctx.event.data["n"])))
        two = await ctx.step.run("two", add, one)
        return [one, two]

    @client.create_function(fn_id="big", trigger=_trigger("big"), retries=RETRIES)
    async def big(ctx: inngest.Context) -> str:
        return "x" * _BIG

    return [quick, slow, thread, steps, big]


def _trigger(name: str) -> inngest.TriggerEvent:
    return inngest.TriggerEvent(event=f"chaos/{name}")


EXPECTED: Final[dict[str, Callable[[int], Any]]] = {
    "quick": lambda n: n,
    "slow": lambda n: n,
    "thread": lambda n: n,
    "steps": lambda n: [n + 1, n + 2],
    "big": lambda _: "x" * _BIG,
}
