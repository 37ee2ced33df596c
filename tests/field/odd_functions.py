"""Functions whose outputs and exceptions are hard to encode; imported by child processes too."""

import asyncio
import dataclasses
import datetime
import os
from collections.abc import Callable
from typing import Any

import inngest
import pydantic

APP = "odd"


class BadStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class BadRepr(Exception):
    def __repr__(self) -> str:
        raise SystemExit(3)

    __str__ = __repr__


class StrIsNoText(Exception):
    def __str__(self) -> str:
        return 1  # type: ignore[return-value]  # noqa: PLE0307 - as users do


class BadClass(Exception):
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


def _no_notes(_: object) -> Any:
    raise RuntimeError("no notes")


BadNotes = type("BadNotes", (Exception,), {"__notes__": property(_no_notes)})


def _no_name(_: object) -> Any:
    raise RuntimeError("no name")


BadMeta: Any = type("BadMeta", (type,), {"__name__": property(_no_name)})


class Nameless(Exception, metaclass=BadMeta):  # type: ignore[metaclass]
    pass


class NamelessBase(BaseException, metaclass=BadMeta):  # type: ignore[metaclass]
    pass


class BadArguments(Exception):
    """Cannot be pickled, nor made from its arguments."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(lambda: (one, two))


class BadBase(BaseException):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class BadQuiet(Exception):
    """The SDK asks an exception whether it is quiet."""

    @property
    def quiet(self) -> Any:
        raise RuntimeError("quiet")


def chained(depth: int) -> Exception:
    error: Exception = ValueError("first")
    for _ in range(depth):
        following = ValueError("next")
        following.__cause__ = error
        error = following
    return error


def circular_cause() -> Exception:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def bad_cause() -> Exception:
    error = ValueError("outer")
    error.__cause__ = BadStr()
    return error


def with_notes(*notes: Any) -> Exception:
    error = ValueError("noted")
    error.__notes__ = list(notes)
    return error


def recursion() -> Exception:
    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError as error:
        return error
    raise AssertionError


ERRORS: dict[str, Callable[[], BaseException]] = {
    "bad str": BadStr,
    "bad repr": BadRepr,
    "str is no text": StrIsNoText,
    "bad class": BadClass,
    "bad notes": BadNotes,
    "bad name": Nameless,
    "bad name of a base exception": NamelessBase,
    "bad base": BadBase,
    "bad quiet": BadQuiet,
    "cannot be pickled": lambda: BadArguments(1, 2),
    "surrogates": lambda: ValueError("\ud800 \udfff"),
    "null": lambda: ValueError("\x00 \x1b[31m"),
    "bytes": lambda: ValueError(b"\xff"),
    "huge": lambda: ValueError("x" * 9_000_000),
    "huge and not ASCII": lambda: ValueError("é" * 9_000_000),
    "group": lambda: ExceptionGroup("several", [ValueError("a"), BadStr()]),
    "base group": lambda: BaseExceptionGroup("several", [SystemExit(1), KeyboardInterrupt()]),
    "deep cause": lambda: chained(5000),
    "circular cause": circular_cause,
    "bad cause": bad_cause,
    "notes": lambda: with_notes("\ud800", 1, BadStr()),
    "recursion": recursion,
    "memory": MemoryError,
    "stop": StopIteration,
    "stop async": StopAsyncIteration,
    "cancelled": asyncio.CancelledError,
    "timeout": TimeoutError,
    "code": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
}


class Model(pydantic.BaseModel):
    number: float = 1.0


@dataclasses.dataclass
class Data:
    number: float = 1.0


class BadDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


class BadFloat(float):
    def __repr__(self) -> str:
        return "not a number"


def circular() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


NAN = float("nan")
OUTPUTS: dict[str, Callable[[], Any]] = {
    "nan": lambda: NAN,
    "infinity": lambda: {"x": float("inf")},
    "negative infinity": lambda: [float("-inf")],
    "nested nan": lambda: [{"a": (1, NAN)}],
    "nan key": lambda: {NAN: 1},
    "set": lambda: {1},
    "bytes": lambda: b"x",
    "circular": circular,
    "too deep": lambda: nested(100_000),
    "model": Model,
    "data": Data,
    "time": lambda: datetime.datetime.now(tz=datetime.UTC),
    "object": object,
    "function": lambda: nested,
    "tuple key": lambda: {(1, 2): 3},
    "bad dict": lambda: {"x": BadDict(a=NAN)},
}
"""What is an error; the next ones are not."""
VALID: dict[str, tuple[Any, Any]] = {
    "surrogate": ("\ud800", "\ud800"),
    "large number": (10**400, 10**400),
    "number keys": ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
    "tuple": ((1, 2), [1, 2]),
    "control characters": ("\x00\x1b", "\x00\x1b"),
    "none": (None, None),
    "false": (False, False),
}


def make(origin: str) -> list[Any]:
    client = inngest.Inngest(
        app_id=APP, api_base_url=origin, event_api_base_url=origin, is_production=False
    )
    functions: list[Any] = []

    def function(name: str, handler: Callable[..., Any]) -> None:
        trigger = inngest.TriggerEvent(event=name)
        functions.append(client.create_function(fn_id=name, trigger=trigger, retries=0)(handler))

    def output(ctx: Any) -> Any:
        name = ctx.event.data["name"]
        return OUTPUTS[name]() if name in OUTPUTS else VALID[name][0]

    async def returns(ctx: inngest.Context) -> Any:
        return output(ctx)

    def returns_sync(ctx: inngest.ContextSync) -> Any:
        return output(ctx)

    async def returns_in_step(ctx: inngest.Context) -> Any:
        async def step() -> Any:
            return output(ctx)

        return await ctx.step.run("step", step)

    async def sends(ctx: inngest.Context) -> Any:
        await client.send(inngest.Event(name="other", data={"x": output(ctx)}))

    async def sends_in_step(ctx: inngest.Context) -> Any:
        await ctx.step.send_event("send", inngest.Event(name="other", data={"x": output(ctx)}))

    async def raises(ctx: inngest.Context) -> Any:
        raise ERRORS[str(ctx.event.data["name"])]()

    def raises_sync(ctx: inngest.ContextSync) -> Any:
        raise ERRORS[str(ctx.event.data["name"])]()

    async def raises_in_step(ctx: inngest.Context) -> Any:
        async def step() -> Any:
            raise ERRORS[str(ctx.event.data["name"])]()

        return await ctx.step.run("step", step)

    for handler in (returns, returns_sync, returns_in_step, sends, sends_in_step):
        function(handler.__name__, handler)
    for handler in (raises, raises_sync, raises_in_step):
        function(handler.__name__, handler)
    return [(client, functions)]


def apps() -> list[Any]:
    """For child processes."""
    return make(os.environ["ODD_ORIGIN"])
