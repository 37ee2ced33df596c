"""Each invariant of the simulation notices when it is broken."""

from types import SimpleNamespace
from typing import Any

import pytest

from inngest_connect.core import events as seen
from inngest_connect.state_machine import ConnectionState as S
from inngest_connect.testing.model.ledger import RequestRecord
from simulation.invariants import SECRET, Invariants, InvariantViolated

pytestmark = pytest.mark.unit
RECORD = RequestRecord("r", "run", "fn", 0.0)


def core(**changes: Any) -> Any:
    """What the invariants ask of a core, when all is well."""
    sound = {
        "counters": {"invalid_transitions": 0},
        "buffer": [],
        "leases": [],
        "requests": [],
        "settings": SimpleNamespace(max_worker_concurrency=None),
        "shutdown": SimpleNamespace(abandoned=(), forced=False),
        "finished": True,
        "machine": SimpleNamespace(state=S.CLOSED),
    }
    return SimpleNamespace(**{**sound, **changes})


class Buffer(list[str]):
    def __init__(self, size: int, *replies: str) -> None:
        super().__init__(replies)
        self.size_bytes, self.max_bytes = size, 100


def sound_core(**changes: Any) -> Any:
    return core(**{"buffer": Buffer(0), **changes})


def test_execution_comes_after_the_acknowledgement_and_once() -> None:
    invariants = Invariants()
    with pytest.raises(InvariantViolated, match="before it is acknowledged"):
        invariants.started("r")
    invariants.written("r")
    invariants.started("r")
    with pytest.raises(InvariantViolated, match="twice at the same time"):
        invariants.started("r")
    invariants.ended("r")
    with pytest.raises(InvariantViolated, match="a second time"):
        invariants.started("r")
    invariants.observed(seen.LeaseLost("r", "run", "fn"))

    invariants.started("r")

    assert invariants.running == {"r"}


@pytest.mark.parametrize(
    "event",
    [
        seen.ErrorOccurred("kind", f"with {SECRET}"),
        seen.Reconnecting(1, 1.0, SECRET),
    ],
)
def test_secrets_are_noticed(event: seen.Event) -> None:
    with pytest.raises(InvariantViolated, match="a secret is shown"):
        Invariants().observed(event)


def test_the_state_outside_leaves_active_for_a_reason_only() -> None:
    invariants = Invariants()
    invariants.observed(seen.Disconnected("c", "g", 1006, "", expected=False))
    invariants.observed(seen.StateChanged(S.ACTIVE, S.RECONNECTING))
    invariants.observed(seen.StateChanged(S.CONNECTING, S.ACTIVE))
    invariants.observed(seen.StateChanged(S.ACTIVE, S.CLOSING))

    with pytest.raises(InvariantViolated, match="without a lost connection"):
        invariants.observed(seen.StateChanged(S.ACTIVE, S.RECONNECTING))


@pytest.mark.parametrize(
    ("changes", "sockets", "violation"),
    [
        ({}, 3, "3 sockets"),
        ({"counters": {"invalid_transitions": 1}}, 1, "transition"),
        ({"buffer": Buffer(101, "a", "b")}, 1, "buffer holds 101"),
        ({"leases": ["l"]}, 1, "a lease is kept"),
        ({"settings": SimpleNamespace(max_worker_concurrency=0)}, 1, "the limit is 0"),
    ],
)
def test_every_step_is_checked(changes: dict[str, Any], sockets: int, violation: str) -> None:
    invariants = Invariants()
    invariants.step(sound_core(), 2)
    invariants.written("r")
    invariants.started("r")

    with pytest.raises(InvariantViolated, match=violation):
        invariants.step(sound_core(**changes), sockets)


@pytest.mark.parametrize(
    ("changes", "errors", "violation"),
    [
        ({"finished": False}, [], "does not end: CLOSED"),
        ({"machine": SimpleNamespace(state=S.CLOSING)}, [], "ended in CLOSING"),
        ({}, ["closed 1008 x"], "errors of the protocol"),
    ],
)
def test_the_end_is_checked(changes: dict[str, Any], errors: list[str], violation: str) -> None:
    invariants = Invariants()
    fine: Any = SimpleNamespace(protocol_errors=["acknowledgement of unknown request r"])
    invariants.finally_holds(sound_core(), fine)
    model: Any = SimpleNamespace(protocol_errors=errors)

    with pytest.raises(InvariantViolated, match=violation):
        invariants.finally_holds(sound_core(**changes), model)


def test_a_lease_may_expire_only_without_a_connection_or_with_a_report() -> None:
    invariants = Invariants()
    invariants.expired(RECORD, 10.0, None)
    with pytest.raises(InvariantViolated, match=r"expired at 10\.000"):
        invariants.expired(RECORD, 10.0, 1.0)

    invariants.observed(seen.ErrorOccurred("reply_evicted", "full", request_id="r"))

    invariants.expired(RECORD, 10.0, 1.0)


def test_a_missing_reply_needs_an_explanation() -> None:
    invariants = Invariants()
    forced = SimpleNamespace(abandoned=(), forced=True)
    with pytest.raises(InvariantViolated, match="has no reply"):
        invariants.unanswered(RECORD, sound_core())
    invariants.observed(seen.ErrorOccurred("reply_undelivered", "ended", request_id="r"))
    with pytest.raises(InvariantViolated, match="has no reply"):
        invariants.unanswered(RECORD, sound_core())

    invariants.unanswered(RECORD, sound_core(shutdown=forced))
    abandoned = SimpleNamespace(abandoned=("r",), forced=False)
    Invariants().unanswered(RECORD, sound_core(shutdown=abandoned))


def test_a_crash_explains_what_was_acknowledged_before_it() -> None:
    invariants = Invariants()
    invariants.written("r")

    invariants.crashed()

    invariants.unanswered(RECORD, sound_core())


def test_only_an_acknowledged_request_is_answered() -> None:
    invariants = Invariants()
    with pytest.raises(InvariantViolated, match="was not acknowledged"):
        invariants.answered("r")
    invariants.written("r")

    invariants.answered("r")
