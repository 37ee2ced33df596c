"""The phases of a connection and the stages of a shutdown, stated by hand.

A table that is compared with itself is always right.
"""

from dataclasses import fields

import pytest

from inngest_connect.core.connections.phases import PHASES, Phase
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.shutdown import STAGES, Stage
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
K = pb.GatewayMessageType

FOLLOWS = {
    "STARTING": {"DIALING", "RETIRED"},
    "DIALING": {"AWAITING_HELLO", "RETIRED"},
    "AWAITING_HELLO": {"AWAITING_READY", "RETIRED"},
    "AWAITING_READY": {"ACTIVE", "RETIRED"},
    "ACTIVE": {"DRAINING", "CLOSING", "RETIRED"},
    "DRAINING": {"REPLACED", "CLOSING", "RETIRED"},
    "REPLACED": {"CLOSING", "RETIRED"},
    "CLOSING": {"RETIRED"},
    "RETIRED": set(),
}
SERVED = {
    K.GATEWAY_EXECUTOR_REQUEST, K.GATEWAY_HEARTBEAT, K.WORKER_REPLY_ACK,
    K.WORKER_REQUEST_EXTEND_LEASE_ACK, K.GATEWAY_CLOSING,
}  # fmt: skip
RECEIVES = {
    "AWAITING_HELLO": {K.GATEWAY_HELLO, K.GATEWAY_CLOSING, K.SYNC_FAILED},
    "AWAITING_READY": {K.GATEWAY_CONNECTION_READY, K.GATEWAY_CLOSING, K.SYNC_FAILED},
    "ACTIVE": SERVED,
    "DRAINING": SERVED,
    "REPLACED": SERVED,
    "CLOSING": SERVED,
}
NEXT = {
    "RUNNING": ("SETTLING", None),
    "SETTLING": ("FINISHING", "FLUSHING"),
    "FINISHING": ("FLUSHING", "FLUSHING"),
    "FLUSHING": ("CLOSING", None),
    "CLOSING": ("DONE", None),
    "DONE": (None, None),
}


@pytest.mark.parametrize("phase", list(Phase))
def test_a_phase_receives_what_it_should_and_leads_where_it_should(phase: Phase) -> None:
    row = PHASES[phase]

    assert {following.value for following in row.follows} == FOLLOWS[phase.value]
    assert phase.receives == RECEIVES.get(phase.value, set())


def test_every_time_limit_is_a_setting_and_leads_to_a_phase_that_can_follow() -> None:
    settings = {field.name for field in fields(CoreSettings)}
    limits = {row.limit for row in PHASES.values() if row.limit is not None}

    assert len(limits) == 6
    assert limits <= settings
    for row in PHASES.values():
        assert row.limit is None or row.expires_to in row.follows


def test_every_phase_ends_in_retired() -> None:
    for phase in Phase:
        reached: set[Phase] = {phase}
        before: set[Phase] = set()
        while reached != before:
            before = set(reached)
            reached |= {following for each in before for following in PHASES[each].follows}
        assert Phase.RETIRED in reached


@pytest.mark.parametrize("stage", list(Stage))
def test_a_shutdown_moves_forward_through_its_stages(stage: Stage) -> None:
    row = STAGES[stage]

    names = tuple(each.value if each is not None else None for each in (row.next, row.forced))
    assert names == NEXT[stage.value]
