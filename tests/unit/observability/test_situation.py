"""The situation: what is wrong, since when, why, and when the worker tries again."""

import dataclasses
from typing import Any

import pytest

from inngest_connect import Connected, ConnectionEvent, Reconnecting, StateChange, StateChanged
from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.core.settings import CoreSettings, WorkerIdentity
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.observability.debug_state import snapshot
from inngest_connect.observability.health import Health
from inngest_connect.observability.recent_activity import RecentActivity
from inngest_connect.observability.situation import Situation, situation
from inngest_connect.state_machine import ConnectionState as S

pytestmark = pytest.mark.unit

READY = Health(None, None)
NOT_READY = Health(None, "the connection is RECONNECTING")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> RecentActivity:
    return RecentActivity(clock)


def seen(
    recent: RecentActivity,
    clock: Clock,
    state: S,
    *,
    health: Health = READY,
    history: tuple[StateChange, ...] = (),
    **changes: Any,
) -> Situation:
    identity = WorkerIdentity(
        instance_id="i", apps=(), capabilities=b"{}", sdk_language="py", sdk_version="1",
        framework="connect",
    )  # fmt: skip
    core = WorkerCore(identity, CoreSettings(), ScheduleRetry(), lambda: 0.5)
    outside = S.ACTIVE if state is S.DRAINING_RECONNECTING else state
    taken = dataclasses.replace(
        snapshot(core, clock.now), state=state, external_state=outside, **changes
    )
    return situation(taken, health, history, recent, clock.now)


def change(previous: S, state: S, at: float) -> StateChange:
    return StateChange(previous, state, ConnectionEvent.CONNECTION_LOST, at)


def test_an_active_worker_needs_no_cause(recent: RecentActivity, clock: Clock) -> None:
    history = (change(S.CONNECTING, S.ACTIVE, 400.0),)

    assert seen(recent, clock, S.ACTIVE, history=history) == Situation(
        S.ACTIVE, 600.0, None, 0, None, ()
    )


def test_before_the_first_connection(recent: RecentActivity, clock: Clock) -> None:
    clock.now += 2.0

    assert seen(recent, clock, S.CONNECTING, next_attempt=0.0) == Situation(
        S.CONNECTING, 2.0, "the first attempt to connect", 0, 0.0, ()
    )


def test_an_outage_has_its_last_cause_and_began_when_the_worker_stopped_to_be_active(
    recent: RecentActivity, clock: Clock
) -> None:
    recent.observe(Connected("c", "g", 0.1))
    recent.observe(StateChanged(S.ACTIVE, S.RECONNECTING))
    clock.now += 3600.0
    recent.observe(StateChanged(S.RECONNECTING, S.CONNECTING))
    recent.observe(Reconnecting(9, 60.0, "no route to the API"))
    recent.observe(StateChanged(S.CONNECTING, S.RECONNECTING))
    # A history of 50 changes that does not reach back to the beginning.
    history = tuple(
        change(*pair, clock.now - 50 + at)
        for at in range(25)
        for pair in ((S.RECONNECTING, S.CONNECTING), (S.CONNECTING, S.RECONNECTING))
    )

    during = seen(
        recent, clock, S.RECONNECTING, health=NOT_READY, history=history, next_attempt=57.0
    )
    recent.observe(StateChanged(S.CONNECTING, S.ACTIVE))
    recent.observe(Connected("c", "g", 0.1))

    assert during == Situation(S.RECONNECTING, 3600.0, "no route to the API", 9, 57.0, ())
    assert recent.unserved_since is None
    assert seen(recent, clock, S.ACTIVE).cause is None


def test_an_outage_that_nobody_observed_has_no_invented_beginning(
    recent: RecentActivity, clock: Clock
) -> None:
    history = (change(S.RECONNECTING, S.CONNECTING, 900.0),) * 50

    assert seen(recent, clock, S.CONNECTING, history=history).since is None


def test_the_history_tells_since_when_while_it_reaches_back(
    recent: RecentActivity, clock: Clock
) -> None:
    history = (
        change(S.CONNECTING, S.ACTIVE, 100.0),
        change(S.ACTIVE, S.RECONNECTING, 700.0),
        change(S.RECONNECTING, S.CONNECTING, 800.0),
    )

    assert seen(recent, clock, S.CONNECTING, history=history).since == 300.0


def test_a_drain_says_that_the_worker_still_serves(recent: RecentActivity, clock: Clock) -> None:
    history = (change(S.ACTIVE, S.DRAINING_RECONNECTING, 998.0),)
    first = seen(recent, clock, S.DRAINING_RECONNECTING, history=history)
    recent.observe(Reconnecting(1, 5.0, "no gateway"))

    later = seen(recent, clock, S.DRAINING_RECONNECTING, history=history)

    assert first.since == 2.0
    assert "still serves" in (first.cause or "")
    assert (later.cause or "").endswith("the last attempt failed: no gateway")
    assert later.failures == 1


def test_a_shutdown_says_what_it_waits_for(recent: RecentActivity, clock: Clock) -> None:
    closing = seen(recent, clock, S.CLOSING, running=2, queued=1, unacknowledged_replies=4)

    assert closing.cause == (
        "a shutdown was requested; it waits for 3 function(s) and 4 result(s) to deliver"
    )
    assert seen(recent, clock, S.CLOSED).cause == "the worker has ended"


@pytest.mark.parametrize(
    ("health", "changes", "warning"),
    [
        (Health("a loop is blocked", "a loop is blocked"), {}, "a loop is blocked"),
        (Health(None, "no message for 21 s"), {}, "no message for 21 s"),
        (
            READY,
            {"max_worker_concurrency": 5, "saturated_age": 30.0, "queued": 7},
            "all 5 slots are taken, and no function has ended for 30 s; 7 request(s) wait",
        ),
        (READY, {"journal_failure": "disk full"}, "the journal is not written: disk full"),
    ],
)
def test_what_else_is_wrong_is_a_warning(
    recent: RecentActivity, clock: Clock, health: Health, changes: dict[str, Any], warning: str
) -> None:
    assert seen(recent, clock, S.ACTIVE, health=health, **changes).warnings == (warning,)


@pytest.mark.parametrize(
    "changes", [{"saturated_age": 9.0, "queued": 7}, {"saturated_age": 30.0, "queued": 0}]
)
def test_full_slots_are_no_trouble_while_functions_end_or_nothing_waits(
    recent: RecentActivity, clock: Clock, changes: dict[str, Any]
) -> None:
    assert seen(recent, clock, S.ACTIVE, **changes).warnings == ()
