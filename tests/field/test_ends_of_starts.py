"""A worker that cannot be started leaves nothing behind: a program may try again for hours."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inngest_connect import ConnectionState, process_executor
from inngest_connect.connection import WebSocketWorkerConnection
from inngest_connect.errors import ConnectError, NotConnectedError
from inngest_connect.testing import MockHTTPServer
from tests.field.one_function import worker_of

pytestmark = pytest.mark.field
LIMIT = 20.0
OTHER_KEY = {"is_production": True, "signing_key": "signkey-prod-" + "a1" * 32}


def _raise(_: object) -> Any:
    raise RuntimeError("no")


async def _failed_start(make: Callable[[], WebSocketWorkerConnection]) -> Any:
    """The worker, without a strong reference, after a start that has raised."""
    worker = make()
    waiting = asyncio.create_task(worker.wait_for_state(ConnectionState.ACTIVE))
    await asyncio.sleep(0)
    with pytest.raises(ConnectError):
        await asyncio.wait_for(worker.start(), LIMIT)
    assert worker.state is ConnectionState.CLOSED
    with pytest.raises(NotConnectedError):
        await asyncio.wait_for(waiting, LIMIT)
    return weakref.ref(worker)


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize(
    "options",
    [
        {"executor": _raise},
        {"executor": lambda _: object()},
        {"executor": process_executor("no_such_module:apps", 1)},
        {"journal": "no/such/directory/j"},
        {"journal": "no/such/directory/j", "executor": _raise},
        {"startup_timeout": 0.1},
        {"client": OTHER_KEY},
    ],
    ids=["executor", "wrong-executor", "child", "journal", "both", "timeout", "key"],
)
async def test_a_worker_that_could_not_be_started_can_be_forgotten(
    options: dict[str, Any], isolation: str, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    factory, threads = loop.get_task_factory(), set(threading.enumerate())
    if "journal" in options:
        options = {**options, "journal": str(tmp_path / options["journal"])}
    async with MockHTTPServer(signing_keys=("signkey-prod-" + "b2" * 32,)) as api:
        origin = api.origin if "client" in options else "http://127.0.0.1:1"
        failed = await _failed_start(lambda: worker_of(origin, isolation=isolation, **options))
        async with asyncio.timeout(LIMIT):
            while failed() is not None or set(threading.enumerate()) - threads:
                await asyncio.sleep(0.01)  # threads end by themselves
                gc.collect()

    assert loop.get_task_factory() is factory
