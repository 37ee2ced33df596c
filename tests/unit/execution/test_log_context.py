"""Records that a function makes say which run they belong to; others say that they do not."""

import asyncio
import logging

import pytest

from inngest_connect import RunFilter, run_fields
from inngest_connect.execution.user_exits import Origin, current_function

pytestmark = pytest.mark.unit
FIELDS = {"function_slug": "app-fn", "run_id": "run1", "request_id": "r1"}


async def in_a_function() -> dict[str, str]:
    current_function.set(Origin("r1", "run1", "app-fn", lambda _: None))
    assert await asyncio.create_task(asyncio.sleep(0, run_fields())) == FIELDS
    return await asyncio.to_thread(run_fields)


async def test_tasks_and_threads_of_a_function_know_its_run() -> None:
    assert await asyncio.create_task(in_a_function()) == FIELDS
    assert run_fields() == {}


async def test_the_filter_gives_every_record_the_fields_and_changes_none() -> None:
    def made(**fields: str) -> dict[str, object]:
        record = logging.makeLogRecord({"msg": "hello", **fields})
        assert RunFilter().filter(record)
        return vars(record)

    async def work() -> tuple[dict[str, object], dict[str, object]]:
        current_function.set(Origin("r1", "run1", "app-fn", lambda _: None))
        return made(), made(run_id="own")

    inside, own = await asyncio.create_task(work())
    outside = made()

    assert {name: inside[name] for name in FIELDS} == FIELDS
    assert (own["run_id"], own["function_slug"]) == ("own", "app-fn")
    assert {outside[name] for name in FIELDS} == {"-"}
