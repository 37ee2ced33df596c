"""A snapshot: ages of the right thing, and ids as they may be shown."""

import pytest

from inngest_connect.observability.debug_state import snapshot
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import LATER_LEASE, Conversation, K

pytestmark = pytest.mark.unit


def test_the_age_of_a_lease_counts_from_its_last_extension() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.heartbeats_answered_for(30.0)
    talk.lease_answer("r1", LATER_LEASE)
    talk.heartbeats_answered_for(4.0)

    (request,) = snapshot(talk.core, talk.now).in_flight

    assert (request.attempt_age, request.lease_age, request.next_extension) == (34.0, 4.0, 26.0)


def test_a_connection_that_drains_is_named_while_it_serves_and_while_it_closes() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    serving = snapshot(talk.core, talk.now)
    talk.becomes_ready(2)
    closing = snapshot(talk.core, talk.now)

    assert serving.draining_connection_ids == ("connection-1",)
    assert closing.draining_connection_ids == ("connection-1",)
    assert closing.active_connection_id == "connection-2"


def test_every_id_of_a_peer_is_shown_as_the_caller_wants_it() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1)
    request = pb.GatewayExecutorRequestData(
        request_id="r1", run_id="run-1", app_name="app", function_slug="app-fn"
    )
    talk.gateway_says(1, K.GATEWAY_EXECUTOR_REQUEST, request.SerializeToString())

    state = snapshot(talk.core, talk.now, shown=lambda text: f"<{text}>")

    assert (state.active_connection_id, state.gateway_group) == ("<connection-1>", "<group-1>")
    (shown,) = state.in_flight
    assert (shown.request_id, shown.run_id, shown.function_slug) == (
        "<r1>",
        "<run-1>",
        "<app-fn>",
    )
