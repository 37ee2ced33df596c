"""What a declaration asks of the server, and middleware."""

import base64
import datetime
import importlib
import json
import logging
from typing import Any

import inngest

from tests.characterization.features import TRIGGER, feature

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
    async def secret() -> list[int]:
        return [21, 42]

    return await ctx.step.run("secret", secret)


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
