"""Whatever a function raises, its request is answered: no run is acknowledged and forgotten."""

import asyncio
import json
from typing import Any

import inngest
import pytest

from inngest_connect.execution.loop_executor import _failure
from inngest_connect.testing import EmbeddedGateway
from tests.field.odd_objects import Text, leave
from tests.field.one_function import worker_of

pytestmark = pytest.mark.field


class BadStr(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class BadRepr(BaseException):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class StrIsNoText(BaseException):
    def __str__(self) -> str:
        return 1  # type: ignore[return-value]  # noqa: PLE0307 - as users do


class NoClass(BaseException):
    __class__ = property(leave)


class NoTraceback(KeyboardInterrupt):
    __traceback__ = property(leave, lambda error, trace: None)


class Half(BaseException):
    def __str__(self) -> str:
        return "\ud800"


class StrWithMethods(BaseException):
    def __str__(self) -> str:
        return Text("text")


@pytest.mark.parametrize(
    "kind", [BadStr, BadRepr, StrIsNoText, NoClass, NoTraceback, StrWithMethods, Half, SystemExit]
)
def test_every_exception_becomes_an_error_reply(kind: type[BaseException]) -> None:
    body = json.loads(_failure(kind()).body)

    assert body["name"] == kind.__name__
    assert isinstance(body["message"], str)


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("kind", [BadStr, NoClass, NoTraceback, StrWithMethods])
async def test_a_function_that_raises_what_cannot_be_shown_is_answered(
    kind: type[BaseException], isolation: Any
) -> None:
    async with EmbeddedGateway() as gateway:

        async def bad(ctx: inngest.Context) -> None:
            raise kind

        async with worker_of(gateway.api_origin, bad, isolation=isolation, wait=True) as worker:
            result = await asyncio.wait_for(gateway.invoke("app-f"), 20.0)
            left = worker.get_debug_state().running

    assert result.status == "failed"
    assert (result.error or {})["name"] == kind.__name__
    assert left == 0
