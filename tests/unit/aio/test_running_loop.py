"""What is awaited outside of asyncio says so."""

import asyncio
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from inngest_connect import LocalMistake
from inngest_connect.aio.running_loop import in_trio, running_loop
from inngest_connect.connection import WebSocketWorkerConnection
from tests.field.one_function import worker_of

pytestmark = pytest.mark.unit


def step(coroutine: Any) -> None:
    """As another library's event loop does, which has no loop of asyncio."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


@pytest.fixture
def trio(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The part of trio that is asked: the token exists where trio runs the caller."""
    module = SimpleNamespace(lowlevel=SimpleNamespace(current_trio_token=object))
    monkeypatch.setitem(sys.modules, "trio", module)
    return module


def worker() -> WebSocketWorkerConnection:
    return worker_of("http://127.0.0.1:9")


AWAITED: dict[str, Callable[[], Any]] = {
    "start": lambda: worker().start(),
    "close": lambda: worker().close(),
    "closed": lambda: worker().closed(),
    "wait_for_state": lambda: worker().wait_for_state("ACTIVE"),
    "async with": lambda: worker().__aenter__(),
}


@pytest.mark.parametrize("name", AWAITED)
def test_a_worker_that_is_awaited_under_trio_names_trio(name: str, trio: SimpleNamespace) -> None:
    with pytest.raises(LocalMistake, match=r"under trio, and a worker runs on asyncio only"):
        step(AWAITED[name]())


@pytest.mark.parametrize("name", AWAITED)
def test_a_worker_that_nothing_runs_says_what_it_needs(name: str) -> None:
    with pytest.raises(LocalMistake, match="asyncio only"):
        step(AWAITED[name]())


def test_run_does_not_block_the_loop_of_trio(trio: SimpleNamespace) -> None:
    with pytest.raises(LocalMistake, match=r"under trio await trio\.to_thread\.run_sync"):
        worker().run()


async def test_a_task_of_asyncio_is_served_although_trio_runs_in_the_same_thread(
    trio: SimpleNamespace,
) -> None:
    assert running_loop() is asyncio.get_running_loop()


def test_trio_that_is_imported_and_does_not_run_the_caller_changes_nothing(
    trio: SimpleNamespace,
) -> None:
    def no_token() -> None:
        raise RuntimeError("must be called from async context")

    trio.lowlevel.current_trio_token = no_token

    assert not in_trio()
