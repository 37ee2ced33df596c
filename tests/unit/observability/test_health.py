"""Health: what a probe receives, from a snapshot."""

import dataclasses

import pytest

from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.core.settings import CoreSettings, WorkerIdentity
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.observability.debug_state import DebugState, snapshot
from inngest_connect.observability.health import judge
from inngest_connect.state_machine import ConnectionState as S

pytestmark = pytest.mark.unit


@pytest.fixture
def sound() -> DebugState:
    identity = WorkerIdentity(
        instance_id="i", apps=(), capabilities=b"{}", sdk_language="py", sdk_version="1",
        framework="connect",
    )  # fmt: skip
    core = WorkerCore(identity, CoreSettings(), ScheduleRetry(), lambda: 0.5)
    return dataclasses.replace(
        snapshot(core, 0.0), state=S.ACTIVE, external_state=S.ACTIVE, last_message_age=1.0
    )


def test_an_active_worker_that_hears_from_its_gateway_is_live_and_ready(sound: DebugState) -> None:
    health = judge(sound)

    assert (health.live, health.ready) == (True, True)
    assert (health.not_live, health.not_ready) == (None, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"external_state": S.CONNECTING}, "CONNECTING"),
        (
            {"external_state": S.RECONNECTING, "consecutive_failures": 3},
            "RECONNECTING after 3 failed",
        ),
        ({"shutdown_requested": True}, "shutting down"),
        ({"last_message_age": 21.0}, "no message from the gateway for 21.0 s"),
        ({"last_message_age": None}, "no message"),
    ],
)
def test_it_is_not_ready_but_live(
    sound: DebugState, change: dict[str, object], reason: str
) -> None:
    health = judge(dataclasses.replace(sound, **change))  # type: ignore[arg-type]

    assert health.live
    assert reason in (health.not_ready or "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"external_state": S.CLOSED}, "CLOSED"),
        ({"io_loop_lag": 31.0}, "connection's event loop is blocked for 31.0 s"),
        ({"caller_loop_lag": 31.0}, "application's event loop is blocked for 31.0 s"),
    ],
)
def test_it_is_neither_live_nor_ready(
    sound: DebugState, change: dict[str, object], reason: str
) -> None:
    health = judge(dataclasses.replace(sound, **change))  # type: ignore[arg-type]

    assert reason in (health.not_live or "")
    assert health.not_ready == health.not_live


def test_limits_are_the_callers(sound: DebugState) -> None:
    late = dataclasses.replace(sound, io_loop_lag=2.0, last_message_age=5.0)

    assert judge(late).ready
    assert not judge(late, blocked_limit=1.0).live
    assert not judge(late, silence_limit=4.0).ready
