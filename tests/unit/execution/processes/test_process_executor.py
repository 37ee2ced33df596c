"""The options of process_executor(), and how the end of a process is told."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from inngest_connect import ConfigurationError, process_executor
from inngest_connect.execution.executor import LOOP_GONE, ExecutorPorts
from inngest_connect.execution.processes.child_handle import ChildHandle, describe_exit
from inngest_connect.execution.processes.child_pool import ChildPool, ProcessSettings
from inngest_connect.execution.processes.process_executor import check_memory_limit
from inngest_connect.execution.processes.process_wire import Configuration

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "options",
    [
        {"processes": 0},
        {"processes": True},
        {"processes": "2"},
        {"max_executions": 0},
        {"max_executions": 1.5},
        {"max_memory_bytes": -1},
        {"max_in_flight": None},
        {"stop_timeout": 0},
        {"stop_timeout": float("inf")},
        {"stop_timeout": "5"},
    ],
)
def test_a_wrong_option_is_named_with_its_value(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigurationError) as caught:
        process_executor("shop:apps", **{"processes": 1, **options})

    assert f"{name} is {value!r}; pass " in str(caught.value)


def test_a_system_without_what_is_needed_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="use max_executions"):
        check_memory_limit(1, tmp_path / "none")
    monkeypatch.delattr(sys, "abiflags")
    with pytest.raises(ConfigurationError, match="needs a POSIX system"):
        process_executor("shop:apps", 1)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL, perhaps for want of memory"),
        (-63, "was killed by signal 63"),
        (None, "could not be started"),
    ],
)
def test_the_end_of_a_process_is_told_in_words(code: int | None, text: str) -> None:
    assert describe_exit(code) == text


def test_the_memory_of_what_does_not_run_is_nothing() -> None:
    loop = asyncio.new_event_loop()
    child = ChildHandle(loop, None, Configuration("shop:apps", [], 1.0))  # type: ignore[arg-type]
    loop.close()

    assert (child.pid, child.resident_bytes()) == (0, 0)


def test_an_executor_is_gone_with_the_loop_of_its_caller() -> None:
    loop = asyncio.new_event_loop()
    executor = process_executor("shop:apps", 1)(
        ExecutorPorts(
            loop=loop,
            run_request=lambda _: pytest.fail("not here"),
            can_cancel=lambda _: True,
            report=lambda _: None,
            on_loop_gone=lambda: None,
            observe=lambda _: None,
            functions={},
        )
    )
    before = executor.gone()
    loop.close()

    assert (before, executor.gone()) == (None, LOOP_GONE)


async def test_a_pool_that_stops_replaces_nobody() -> None:
    settings = ProcessSettings("shop:apps", 1, None, None, 1, 1.0)
    pool = ChildPool(settings, {}, lambda _: None, None)  # type: ignore[arg-type]
    pool.stopping = True
    child = ChildHandle(
        asyncio.get_running_loop(),
        None,  # type: ignore[arg-type]
        Configuration("shop:apps", [], 1.0),
    )

    pool.expire(child)

    assert child.expiring
    assert not pool._children


class Ready:
    """A child that has become ready."""

    expiring = False

    def stop(self) -> None: ...


async def test_a_child_that_becomes_ready_ends_the_count_of_failed_starts() -> None:
    """Ten in a row end the worker, and not ten in a month."""
    told: list[Any] = []
    settings = ProcessSettings("shop:apps", 1, None, None, 1, 1.0)
    pool = ChildPool(settings, {}, told.append, None)  # type: ignore[arg-type]
    pool._loop = asyncio.get_running_loop()
    for _ in range(30):
        pool._start_failed("ended with code 1")
        assert pool._retry is not None
        pool._retry.cancel()
        pool._retry = None
        pool.child_ready(Ready(), {})  # type: ignore[arg-type]
        pool.serving.clear()

    assert pool.broken is None
    assert {error.message.partition("started in ")[2] for error in told} == {"0.5 s"}


async def test_two_failed_starts_at_once_are_one_failure() -> None:
    told: list[Any] = []
    settings = ProcessSettings("shop:apps", 2, None, None, 1, 1.0)
    pool = ChildPool(settings, {}, told.append, None)  # type: ignore[arg-type]
    pool._loop = asyncio.get_running_loop()

    pool._start_failed("ended with code 1")
    pool._start_failed("ended with code 1")

    assert [error.kind for error in told] == ["child_process_died"]
    await pool.stop()
