"""One function for each feature of the SDK, to be run by two workers.

A feature that this version of the SDK lacks has no function; ``LACKING`` names what is missing.
"""

import asyncio
import base64
import dataclasses
import datetime
import functools
import importlib
import json
import logging
from collections.abc import Callable
from typing import Any, Final

import inngest
import pydantic

Options = dict[str, Any]
TRIGGER: Final = inngest.TriggerEvent(event="features/called")


@dataclasses.dataclass(frozen=True, slots=True)
class Feature:
    """A handler, and how its function is declared and invoked."""

    handler: Callable[..., Any]
    options: Callable[[], Options]
    invoke: Options
    """Keyword arguments of ``EmbeddedGateway.invoke``."""


FEATURES: Final[dict[str, Feature]] = {}
CALLED: Final[dict[str, Any]] = {}
"""Functions of the client that was made last which other functions name."""
LACKING: Final[dict[str, str]] = {}
"""Features by name, and what this version of the SDK does not have for them."""


def feature(
    needs: str = "inngest.Inngest", invoke: Options | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the feature that is named as its handler.

    ``needs`` is a name of the SDK that it cannot do without. An option that is a callable is called
    only if that exists.
    """

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        name = handler.__name__.replace("_", "-")
        if _exists(needs):
            FEATURES[name] = Feature(
                handler,
                lambda: {k: v() if _is_lambda(v) else v for k, v in options.items()},
                invoke or {},
            )
        else:
            LACKING[name] = needs
        return handler

    return declare


def _exists(path: str) -> bool:
    module, _, name = path.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def _is_lambda(value: Any) -> bool:
    return getattr(value, "__name__", "") == "<lambda>"


def make_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    """A function for each feature, with the ids of the features, and what they call."""
    if "defer" in FEATURES:
        deferred = importlib.import_module("inngest.experimental.deferred")
        CALLED["child"] = deferred.create_defer(client, fn_id="child")(_child)
    declared = [
        client.create_function(
            **{"fn_id": name, "trigger": TRIGGER, "retries": 0, **each.options()}
        )(each.handler)
        for name, each in FEATURES.items()
    ]
    return [*declared, *CALLED.values()]


async def double(value: int) -> int:
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
    one = await ctx.step.run("one", double, 1)
    return [one, await ctx.step.run("two", double, one)]


@feature()
async def steps_with_one_id(ctx: inngest.Context) -> list[int]:
    return [await ctx.step.run("same", double, number) for number in range(3)]


@feature()
def sync_steps(ctx: inngest.ContextSync) -> list[int]:
    one = ctx.step.run("one", lambda: 1)
    ctx.step.sleep("rest", 1000)
    return [one, ctx.step.run("two", lambda: one + 1)]


async def _child(ctx: Any) -> Any:
    return [parent.fn_slug for parent in ctx.parents]


@feature("inngest.experimental.deferred.create_defer")
async def defer(ctx: Any) -> str:
    ctx.defer("later", function=CALLED["child"], data={"n": 1})
    ctx.defer("never", function=CALLED["child"], data={"n": 2}).abort()
    return "a parent"


@feature("inngest._internal.step_lib.group.Group")
async def parallel_steps(ctx: inngest.Context) -> Any:
    calls = [functools.partial(ctx.step.run, f"step-{n}", double, n) for n in range(3)]
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


# --- what the server does with a declaration ------------------------------------------------------


@feature(batch_events=lambda: inngest.Batch(max_size=10, timeout=datetime.timedelta(seconds=5)))
async def batch(ctx: inngest.Context) -> list[str]:
    return [event.name for event in ctx.events or []]


@feature(trigger=lambda: inngest.TriggerCron(cron="0 * * * *"))
async def cron(ctx: inngest.Context) -> str:
    return "on the hour"


@feature(trigger=lambda: [TRIGGER, inngest.TriggerEvent(event="features/b", expression="true")])
async def several_triggers(ctx: inngest.Context) -> str:
    return "by either"


@feature(idempotency="event.data.id", name="A name for people")
async def idempotency(ctx: inngest.Context) -> str:
    return "once"


@feature(concurrency=lambda: [inngest.Concurrency(limit=2, key="event.data.id", scope="fn")])
async def concurrency(ctx: inngest.Context) -> str:
    return "two"


@feature(throttle=lambda: inngest.Throttle(limit=1, period=datetime.timedelta(minutes=1), burst=3))
async def throttle(ctx: inngest.Context) -> str:
    return "slowly"


@feature(priority=lambda: inngest.Priority(run="event.data.urgent ? 60 : 0"))
async def priority(ctx: inngest.Context) -> str:
    return "first"


@feature(
    debounce=lambda: inngest.Debounce(period=datetime.timedelta(seconds=5), key="event.data.k")
)
async def debounce(ctx: inngest.Context) -> str:
    return "the last one"


@feature(rate_limit=lambda: inngest.RateLimit(limit=1, period=datetime.timedelta(hours=1)))
async def rate_limit(ctx: inngest.Context) -> str:
    return "one"


@feature(cancel=lambda: [inngest.Cancel(event="features/stop", if_exp="true", timeout=60_000)])
async def cancel(ctx: inngest.Context) -> str:
    return "not cancelled"


@feature("inngest.Timeouts", timeouts=lambda: inngest.Timeouts(start=1_000, finish=60_000))
async def timeouts(ctx: inngest.Context) -> str:
    return "in time"


@feature("inngest.Singleton", singleton=lambda: inngest.Singleton(mode="skip", key="event.data.k"))
async def singleton(ctx: inngest.Context) -> str:
    return "alone"


# --- middleware -----------------------------------------------------------------------------------


class Encrypting(inngest.Middleware):
    """Turns what steps and functions return into base64, and back where it is read."""

    async def transform_input(
        self, ctx: Any, function: inngest.Function[Any], steps: inngest.StepMemos
    ) -> None:
        for memo in steps.values():
            if isinstance(memo.data, str):
                memo.data = json.loads(base64.b64decode(memo.data))

    async def transform_output(self, result: inngest.TransformOutputResult) -> None:
        if result.has_output():
            text = json.dumps(result.output)
            result.output = base64.b64encode(text.encode()).decode()


@feature(middleware=[Encrypting])
async def encrypting_middleware(ctx: inngest.Context) -> Any:
    return await ctx.step.run("secret", double, 21)


class Recording(inngest.MiddlewareSync):
    """Logs each hook that is called."""

    def _note(self, hook: str) -> None:
        logging.getLogger("features").info("middleware: %s", hook)

    def before_execution(self) -> None:
        self._note("before_execution")

    def after_execution(self) -> None:
        self._note("after_execution")

    def before_response(self) -> None:
        self._note("before_response")

    def transform_output(self, result: inngest.TransformOutputResult) -> None:
        self._note(f"transform_output {result.output}")


@feature(middleware=[Recording])
def sync_middleware(ctx: inngest.ContextSync) -> Any:
    return ctx.step.run("one", lambda: 1)


@feature("inngest.experimental.realtime.publish")
async def realtime_publish(ctx: inngest.Context) -> str:
    realtime = importlib.import_module("inngest.experimental.realtime")
    await realtime.publish(_client_of(ctx), "a-channel", "a-topic", {"n": 1})
    return "published"


def _client_of(ctx: Any) -> Any:
    return ctx.step._client
