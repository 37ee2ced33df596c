"""The answer of a proxy in place of the API decides neither about a reply nor about a key."""

import pytest
from starlette.responses import Response

from inngest_connect import ErrorOccurred
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from tests.errors.faulty import faulty

pytestmark = pytest.mark.field


def page(status: int, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response("<html>not today</html>", status, named, "text/html")


@pytest.mark.scenario("api-pages")
@pytest.mark.parametrize("status", [401, 413])
async def test_a_page_does_not_make_a_reply_undeliverable(status: int) -> None:
    errors: list[ErrorOccurred] = []
    async with faulty() as it:
        it.gateway.http._plan(FLUSH_PATH, 1, page(status))
        async with it.worker(on={"error": errors.append}):
            result = await it.run_through_an_outage()

    assert result.output == "released"
    kinds = {error.kind for error in errors}
    assert "flush_failed" in kinds
    assert "reply_refused" not in kinds


@pytest.mark.scenario("api-pages")
@pytest.mark.parametrize("status", [401, 403])
async def test_a_page_in_place_of_the_first_answer_does_not_end_the_worker(status: int) -> None:
    async with faulty() as it:
        it.gateway.http._plan(START_PATH, 1, page(status))
        async with it.worker():  # waits for the connection
            result = await it.gateway.invoke("app-echo")

    assert result.status == "completed"


async def test_the_pace_that_is_asked_for_is_a_lower_bound_for_a_reply() -> None:
    errors: list[ErrorOccurred] = []
    async with faulty(extend_lease_interval="5s", lease=20.0) as it:
        it.gateway.http._plan(FLUSH_PATH, 1, page(503, retry_after="2"))
        async with it.worker(on={"error": errors.append}):
            result = await it.run_through_an_outage()

    (failed,) = [error for error in errors if error.kind == "flush_failed"]
    seconds = float(failed.message.rpartition("trying again in ")[2].removesuffix(" s"))
    assert 2.0 <= seconds <= 2.4
    assert result.output == "released"
