"""Functions that do what the data of their event says, for the comparison of the two paths.

``event.data["program"]`` is a list of instructions, such as ``["step", "a", "text"]``. The async
and the sync interpreter know the same ones. What a step or a function "does" is a name in
``DOINGS``: it returns or raises something.
"""

import asyncio
import datetime
import enum
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import inngest
import pydantic
from inngest._internal import errors, server_lib

MOMENT: Final = datetime.datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
TRIGGER: Final = inngest.TriggerEvent(event="x")


class Model(pydantic.BaseModel):
    """An output that only a serializer can encode."""

    name: str = "m"
    at: datetime.datetime = MOMENT


class Number(enum.IntEnum):
    """JSON takes it for a number."""

    ONE = 1


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Interrupted(BaseException):
    """Not an Exception, so that no handler of the SDK catches it."""


class ChangingMap(dict[str, Any]):
    """A mapping with other items than its own."""

    def items(self) -> Any:
        return {"changed": 1}.items()


def _raise(error: BaseException) -> Any:
    raise error


def _raise_with_cause() -> Any:
    try:
        raise KeyError("cause")
    except KeyError as error:
        raise ValueError("effect") from error


def _circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(3000):
        value = [value]
    return value


DOINGS: Final[Mapping[str, Callable[[], Any]]] = {
    "none": lambda: None,
    "zero": lambda: 0,
    "false": lambda: False,
    "no text": lambda: "",
    "no items": list,
    "text": lambda: "caf\u00e9 \U0001f600 \x00 \ud800",
    "long text": lambda: "x" * 300_000,
    "numbers": lambda: [1, -0.0, 1e300, 10**40, Number.ONE, True],
    "mapping": lambda: {"b": 1, "a": {"c": [None]}, 3: "key"},
    "tuple": lambda: (1, (2,)),
    "changing": lambda: ChangingMap(a=2),
    "error-like": lambda: {"error": {"message": "m"}, "data": 1},
    "nan": lambda: {"x": [1.0, float("nan")]},
    "infinity": lambda: -float("inf"),
    "set": lambda: {1},
    "bytes": lambda: b"x",
    "tuple key": lambda: {(1,): 2},
    "object": lambda: object.__new__(Model).__class__,
    "circular": _circular,
    "deep": _deep,
    "model": Model,
    "event": lambda: inngest.Event(name="x"),
    "ValueError": lambda: _raise(ValueError("wrong")),
    "empty error": lambda: _raise(ValueError()),
    "long error": lambda: _raise(ValueError("y" * 300_000)),
    "surrogate error": lambda: _raise(ValueError("\ud800")),
    "unprintable": lambda: _raise(Unprintable()),
    "cause": _raise_with_cause,
    "group": lambda: _raise(ExceptionGroup("both", [ValueError("a"), TypeError("b")])),
    "never": lambda: _raise(inngest.NonRetriableError("never")),
    "quietly never": lambda: _raise(inngest.NonRetriableError("never", quiet=True)),
    "later": lambda: _raise(inngest.RetryAfterError("later", MOMENT)),
    "quietly later": lambda: _raise(inngest.RetryAfterError("later", MOMENT, quiet=True)),
    "StepError": lambda: _raise(inngest.StepError("m", "n", "s")),
    "SDK error": lambda: _raise(errors.Error("theirs")),
    "StopIteration": lambda: _raise(StopIteration(3)),
    "cancelled": lambda: _raise(asyncio.CancelledError("itself")),
    "interrupted": lambda: _raise(Interrupted("out")),
}

Program = Sequence[Any]


async def do(name: str) -> Any:
    await asyncio.sleep(0)
    return DOINGS[name]()


async def interpret(ctx: inngest.Context, program: Program, results: list[Any]) -> None:
    """Put what the instructions return into ``results``."""
    for instruction in program:
        match instruction:
            case ["return", name]:
                results[:] = [await do(name)]
            case ["do", name]:
                results.append(await do(name))
            case ["step", step_id, name]:
                results.append(await ctx.step.run(step_id, do, name))
            case ["model step", step_id, name]:
                results.append(repr(await ctx.step.run(step_id, do, name, output_type=Model)))
            case ["parallel", mode, *pairs]:
                calls = [functools.partial(ctx.step.run, one, do, name) for one, name in pairs]
                results.append(await ctx.group.parallel(tuple(calls), _mode(mode)))
            case ["nested", step_id]:

                async def inner(step_id: str = step_id) -> Any:
                    return await ctx.step.run(f"{step_id} inner", do, "text")

                results.append(await ctx.step.run(step_id, inner))
            case ["sleep until", step_id]:
                await ctx.step.sleep_until(step_id, MOMENT)
            case ["wait", step_id]:
                found = await ctx.step.wait_for_event(step_id, event="e", timeout=1000)
                results.append(repr(found))
            case ["invoke", step_id, data]:
                results.append(
                    await ctx.step.invoke_by_id(
                        step_id, app_id="other", function_id="fn", data=data
                    )
                )
            case ["log", text]:
                ctx.logger.warning(text)
            case ["try", *inside]:
                try:
                    await interpret(ctx, inside, results)
                except Exception as error:
                    results.append([type(error).__name__, repr(error.args)])
            case ["swallow", *inside]:
                try:
                    await interpret(ctx, inside, results)
                except BaseException as error:  # which the SDK warns of
                    results.append(type(error).__name__)


def do_sync(name: str) -> Any:
    return DOINGS[name]()


def interpret_sync(ctx: inngest.ContextSync, program: Program, results: list[Any]) -> None:
    """The same, in a thread."""
    for instruction in program:
        match instruction:
            case ["return", name]:
                results[:] = [do_sync(name)]
            case ["do", name]:
                results.append(do_sync(name))
            case ["step", step_id, name]:
                results.append(ctx.step.run(step_id, do_sync, name))
            case ["model step", step_id, name]:
                results.append(repr(ctx.step.run(step_id, do_sync, name, output_type=Model)))
            case ["parallel", mode, *pairs]:
                calls = [functools.partial(ctx.step.run, one, do_sync, name) for one, name in pairs]
                results.append(ctx.group.parallel(tuple(calls), _mode(mode)))
            case ["nested", step_id]:

                def inner(step_id: str = step_id) -> Any:
                    return ctx.step.run(f"{step_id} inner", do_sync, "text")

                results.append(ctx.step.run(step_id, inner))
            case ["sleep until", step_id]:
                ctx.step.sleep_until(step_id, MOMENT)
            case ["wait", step_id]:
                found = ctx.step.wait_for_event(step_id, event="e", timeout=1000)
                results.append(repr(found))
            case ["invoke", step_id, data]:
                results.append(
                    ctx.step.invoke_by_id(step_id, app_id="other", function_id="fn", data=data)
                )
            case ["log", text]:
                ctx.logger.warning(text)
            case ["try", *inside]:
                try:
                    interpret_sync(ctx, inside, results)
                except Exception as error:
                    results.append([type(error).__name__, repr(error.args)])
            case ["swallow", *inside]:
                try:
                    interpret_sync(ctx, inside, results)
                except BaseException as error:
                    results.append(type(error).__name__)


def _mode(name: str) -> Any:
    return server_lib.ParallelMode[name]


def _returned(program: Program, results: list[Any]) -> Any:
    """The value of a ``return``, which may be nothing but itself, else all results."""
    return results[0] if program and program[-1][0] == "return" else results


def seen(ctx: Any) -> dict[str, Any]:
    """All that a function finds in its context, except methods, and where it runs."""
    is_main = threading.current_thread() is threading.main_thread()
    names = "attempt", "event", "events", "run_id", "job_id", "request_id", "sessions"
    return {"main": is_main, **{name: repr(getattr(ctx, name, "absent")) for name in names}}


def make_functions(
    client: inngest.Inngest, middleware: Sequence[Any] = ()
) -> list[inngest.Function[Any]]:
    """``async``, ``sync`` and others; ``-failure`` is of the first two."""
    options: dict[str, Any] = {"trigger": TRIGGER, "middleware": list(middleware)}

    async def on_failure(ctx: inngest.Context) -> Any:
        program = list(ctx.event.data["program"])  # type: ignore[arg-type]
        results: list[Any] = ["failure"]
        await interpret(ctx, program, results)
        return _returned(program, results)

    def on_failure_sync(ctx: inngest.ContextSync) -> Any:
        program = list(ctx.event.data["program"])  # type: ignore[arg-type]
        results: list[Any] = ["failure"]
        interpret_sync(ctx, program, results)
        return _returned(program, results)

    @client.create_function(fn_id="async", on_failure=on_failure, **options)
    async def asynchronous(ctx: inngest.Context) -> Any:
        program = list(ctx.event.data["program"])  # type: ignore[arg-type]
        results: list[Any] = []
        await interpret(ctx, program, results)
        return _returned(program, results)

    @client.create_function(fn_id="sync", on_failure=on_failure_sync, **options)
    def synchronous(ctx: inngest.ContextSync) -> Any:
        program = list(ctx.event.data["program"])  # type: ignore[arg-type]
        results: list[Any] = []
        interpret_sync(ctx, program, results)
        return _returned(program, results)

    @client.create_function(fn_id="model", output_type=Model, **options)
    async def model(ctx: inngest.Context) -> Any:
        return DOINGS[str(ctx.event.data["program"])]()

    @client.create_function(fn_id="seen", **options)
    async def seen_async(ctx: inngest.Context) -> Any:
        return seen(ctx)

    @client.create_function(fn_id="seen-sync", **options)
    def seen_sync(ctx: inngest.ContextSync) -> Any:
        return seen(ctx)

    return [asynchronous, synchronous, model, seen_async, seen_sync]
