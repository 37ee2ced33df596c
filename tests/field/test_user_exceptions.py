"""Whatever a function raises, its request is answered: no run is acknowledged and forgotten."""

import json

import inngest
import pytest

from inngest_connect.execution.loop_executor import _failure
from inngest_connect.testing import EmbeddedGateway
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


@pytest.mark.parametrize(
    "error", [BadStr(), BadRepr(), StrIsNoText(), BaseException("\ud800"), SystemExit(0)]
)
def test_every_exception_becomes_an_error_reply(error: BaseException) -> None:
    body = json.loads(_failure(error).body)

    assert body["name"] == type(error).__name__
    assert isinstance(body["message"], str)


async def test_a_function_that_raises_what_cannot_be_shown_is_answered() -> None:
    async with EmbeddedGateway() as gateway:

        async def bad(ctx: inngest.Context) -> None:
            raise BadStr

        async with worker_of(gateway.api_origin, bad, wait=True) as worker:
            result = await gateway.invoke("app-f")
            left = worker.get_debug_state().running

    assert result.status == "failed"
    assert left == 0
