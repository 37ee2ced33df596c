"""What a function returns, its steps, and how it fails."""

import asyncio
import datetime
import functools
import importlib
from typing import Any

import inngest
import pydantic

from tests.characterization.features import CALLED, DECLARED_FIRST, FEATURES, feature


async def _double(value: int) -> int:
    await asyncio.sleep(0)
    return value * 2


# --- functions and what they return --------------------------------------------------------------


@feature(invoke={"event": {"data": {"nested": [1, {"ä": None}]}}})
async def output(ctx: inngest.Context) -> Any:
    return dict(ctx.event.data)


@feature()
async def no_output(ctx: inngest.Context) -> None: ...


@feature()
def sync_function(ctx: inngest.ContextSync) -> str:
    return ctx.event.name


@feature()
async def output_that_is_not_json(ctx: inngest.Context) -> Any:
    return {1, 2}


class Parcel(pydantic.BaseModel):
    """What a function and a step return."""

    weight: int
    sent: datetime.date


@feature("inngest.PydanticSerializer", output_type=Parcel)
async def pydantic_output(ctx: inngest.Context) -> Parcel:
    async def pack() -> Parcel:
        return Parcel(weight=2, sent=datetime.date(2026, 1, 2))

    packed = await ctx.step.run("pack", pack, output_type=Parcel)
    return Parcel(weight=packed.weight + 1, sent=packed.sent)


@feature()
async def context(ctx: inngest.Context) -> Any:
    ctx.logger.info("in the function")
    return {
        "attempt": ctx.attempt,
        "event": ctx.event.name,
        "events": len(ctx.events),
        "has a run id": bool(ctx.run_id),
    }


# --- steps ---------------------------------------------------------------------------------------


@feature()
async def steps(ctx: inngest.Context) -> list[int]:
    one = await ctx.step.run("one", _double, 1)
    return [one, await ctx.step.run("two", _double, one)]


@feature()
async def steps_with_one_id(ctx: inngest.Context) -> list[int]:
    return [await ctx.step.run("same", _double, number) for number in range(3)]


@feature()
def sync_steps(ctx: inngest.ContextSync) -> list[int]:
    one = ctx.step.run("one", lambda: 1)
    ctx.step.sleep("rest", 1000)
    return [one, ctx.step.run("two", lambda: one + 1)]


async def _child(ctx: Any) -> Any:
    return [parent.fn_slug for parent in ctx.parents]


def _declare_child(client: inngest.Inngest) -> Any:
    deferred = importlib.import_module("inngest.experimental.deferred")
    return deferred.create_defer(client, fn_id="child")(_child)


@feature("inngest.experimental.deferred.create_defer")
async def defer(ctx: Any) -> str:
    ctx.defer("later", function=CALLED["child"], data={"n": 1})
    ctx.defer("never", function=CALLED["child"], data={"n": 2}).abort()
    return "a parent"


if "defer" in FEATURES:
    DECLARED_FIRST["child"] = _declare_child


@feature("inngest._internal.step_lib.group.Group")
async def parallel_steps(ctx: inngest.Context) -> Any:
    calls = [functools.partial(ctx.step.run, f"step-{n}", _double, n) for n in range(3)]
    return list(await ctx.group.parallel(tuple(calls)))


@feature("inngest._internal.step_lib.group.GroupSync")
def sync_parallel_steps(ctx: inngest.ContextSync) -> Any:
    calls = [functools.partial(ctx.step.run, f"step-{n}", lambda n=n: n) for n in range(3)]
    return list(ctx.group.parallel(tuple(calls)))


@feature()
async def sleep(ctx: inngest.Context) -> str:
    await ctx.step.sleep("a-day", datetime.timedelta(days=1))
    await ctx.step.sleep_until("then", datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC))
    return "rested"


@feature()
async def wait_for_event(ctx: inngest.Context) -> Any:
    hour = datetime.timedelta(hours=1)
    came = await ctx.step.wait_for_event("comes", event="features/came", timeout=hour)
    late = await ctx.step.wait_for_event(
        "never", event="features/never", if_exp="event.data.n == async.data.n", timeout=hour
    )
    return [came and dict(came.data), late]


@feature()
async def invoke_by_id(ctx: inngest.Context) -> Any:
    return await ctx.step.invoke_by_id(
        "call", app_id="features", function_id="output", data={"from": "another"}
    )


@feature()
async def invoke_that_fails(ctx: inngest.Context) -> Any:
    try:
        return await ctx.step.invoke_by_id("call", app_id="features", function_id="failure")
    except inngest.StepError as error:
        return error.message


@feature()
async def send_event(ctx: inngest.Context) -> int:
    sent = [inngest.Event(name="features/sent", data={"n": n}, id=f"e{n}") for n in range(2)]
    return len(await ctx.step.send_event("send", sent))


@feature("inngest.experimental.ai.openai.Adapter", invoke={"steps": {"ask": {"answer": 42}}})
async def ai_infer(ctx: inngest.Context) -> Any:
    openai = importlib.import_module("inngest.experimental.ai.openai")
    adapter = openai.Adapter(auth_key="a-key", model="a-model")
    return await ctx.step.ai.infer("ask", adapter=adapter, body={"messages": []})


# --- failures ------------------------------------------------------------------------------------


@feature()
async def failure(ctx: inngest.Context) -> None:
    raise ValueError("declined: ä")


@feature(retries=2)
async def retries(ctx: inngest.Context) -> int:
    if ctx.attempt < 2:
        raise ValueError("not yet")
    return ctx.attempt


@feature(retries=3)
async def non_retriable_error(ctx: inngest.Context) -> None:
    raise inngest.NonRetriableError("never", quiet=True)


@feature(retries=1)
async def retry_after_error(ctx: inngest.Context) -> str:
    if ctx.attempt == 0:
        raise inngest.RetryAfterError("later", datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC))
    return "now"


@feature(retries=1)
async def step_that_is_retried(ctx: inngest.Context) -> str:
    async def flaky() -> str:
        if ctx.attempt == 0:
            raise ValueError("not yet")
        return "done"

    return await ctx.step.run("flaky", flaky)


@feature()
async def step_error(ctx: inngest.Context) -> Any:
    async def break_down() -> None:
        raise ValueError("broken")

    try:
        await ctx.step.run("breaks", break_down)
    except inngest.StepError as error:
        return [error.message, error.name]


@feature()
async def step_error_that_is_final(ctx: inngest.Context) -> None:
    async def break_down() -> None:
        raise inngest.NonRetriableError("broken for good")

    await ctx.step.run("breaks", break_down)


async def _on_failure(ctx: inngest.Context) -> str:
    ctx.logger.error("after the failure")
    return "handled"


@feature(on_failure=_on_failure)
async def on_failure(ctx: inngest.Context) -> None:
    raise ValueError("declined")
