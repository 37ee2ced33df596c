"""The options of process_executor()."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from inngest_connect import ConfigurationError, process_executor
from inngest_connect.execution.executor import LOOP_CLOSED, ExecutorPorts
from inngest_connect.execution.processes import executor

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


def test_a_system_without_what_is_needed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(executor, "_STATM", tmp_path / "none")
    with pytest.raises(ConfigurationError, match="use max_executions"):
        process_executor("shop:apps", 1, max_memory_bytes=1)
    monkeypatch.setattr(executor, "_IS_POSIX", False)
    with pytest.raises(ConfigurationError, match="needs a POSIX system"):
        process_executor("shop:apps", 1)


def test_an_executor_fails_with_the_event_loop_of_its_application() -> None:
    loop = asyncio.new_event_loop()
    made = process_executor("shop:apps", 1)(
        ExecutorPorts(
            loop=loop,
            run_request=lambda _: pytest.fail("not here"),
            can_cancel=lambda _: True,
            post=lambda _: None,
            observe=lambda _: None,
            functions={},
        )
    )
    before = made.failure()
    loop.close()

    assert (before, made.failure()) == (None, LOOP_CLOSED)
