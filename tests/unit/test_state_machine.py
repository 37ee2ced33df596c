"""The state machine, over all pairs of state and event."""

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_connect.errors import InvalidTransition, LocalMistake
from inngest_connect.state_machine import (
    HISTORY_LENGTH,
    TRANSITIONS,
    ConnectionStateMachine,
    Listener,
    StateChange,
    connection_state,
)
from inngest_connect.state_machine import ConnectionEvent as E
from inngest_connect.state_machine import ConnectionState as S

pytestmark = pytest.mark.unit

PATH_TO = {
    S.CONNECTING: [],
    S.ACTIVE: [E.GATEWAY_READY],
    S.RECONNECTING: [E.GATEWAY_READY, E.CONNECTION_LOST],
    S.DRAINING_RECONNECTING: [E.GATEWAY_READY, E.DRAINING_REQUESTED],
    S.CLOSING: [E.SHUTDOWN_REQUESTED],
    S.CLOSED: [E.SHUTDOWN_REQUESTED, E.SHUTDOWN_COMPLETED],
}
"""The shortest way to each state that can be entered."""

# One letter for each state: C connecting, A active, R reconnecting, D draining, L closing,
# X closed; a point where the event is refused. Written by hand, not read from TRANSITIONS: a
# table that is compared with itself is always right.
LETTERS = {
    "C": S.CONNECTING, "A": S.ACTIVE, "R": S.RECONNECTING, "D": S.DRAINING_RECONNECTING,
    "L": S.CLOSING, "X": S.CLOSED, ".": None,
}  # fmt: skip
COLUMNS = "CARDLX"
EXPECTED = {
    E.CONNECT_REQUESTED:    "C.CDL.",
    E.WEBSOCKET_OPEN:       "C..DL.",
    E.AUTH_SUCCESS:         "C..DL.",
    E.AUTH_FAILED:          "C.RDL.",
    E.GATEWAY_READY:        "AA.DL.",
    E.DRAINING_REQUESTED:   ".D.DL.",
    E.NEW_CONNECTION_READY: "AA.AL.",
    E.ERROR_OCCURRED:       "CRRDL.",
    E.SHUTDOWN_REQUESTED:   "LLLLL.",
    E.CONNECTION_LOST:      "CRRRL.",
    E.RECONNECT_STARTED:    "R.RDL.",
    E.SHUTDOWN_COMPLETED:   "....X.",
}  # fmt: skip


MAY = {  # connects, accepts requests, extends leases
    S.CONNECTING: (True, False, False),
    S.ACTIVE: (False, True, True),
    S.RECONNECTING: (True, False, False),
    S.DRAINING_RECONNECTING: (True, False, True),
    S.CLOSING: (True, False, True),
    S.CLOSED: (False, False, False),
    S.PAUSED: (False, False, False),
}


@pytest.mark.parametrize("state", list(S))
def test_what_a_worker_does_in_a_state(state: S) -> None:
    assert (state.connects, state.accepts_requests, state.extends_leases) == MAY[state]


LETTER_OF = {state: letter for letter, state in LETTERS.items()}


def machine_in(state: S) -> ConnectionStateMachine:
    machine = ConnectionStateMachine()
    for event in PATH_TO[state]:
        machine.handle(event, 0.0)
    assert machine.state is state
    return machine


def test_the_names_of_states_and_events_are_stable() -> None:
    assert {s.name for s in PATH_TO} == {
        "CONNECTING", "ACTIVE", "RECONNECTING", "DRAINING_RECONNECTING", "CLOSING", "CLOSED",
    }  # fmt: skip
    assert {e.name for e in E} - {"SHUTDOWN_COMPLETED"} == {
        "CONNECT_REQUESTED", "WEBSOCKET_OPEN", "AUTH_SUCCESS", "AUTH_FAILED", "GATEWAY_READY",
        "DRAINING_REQUESTED", "NEW_CONNECTION_READY", "ERROR_OCCURRED", "SHUTDOWN_REQUESTED",
        "CONNECTION_LOST", "RECONNECT_STARTED",
    }  # fmt: skip


@pytest.mark.scenario("53")
@pytest.mark.parametrize("state", list(PATH_TO))
@pytest.mark.parametrize("event", list(E))
def test_every_pair_does_what_the_table_says_or_is_refused(state: S, event: E) -> None:
    machine = machine_in(state)
    heard: list[StateChange] = []
    machine.add_listener(heard.append)
    history = machine.history
    target = LETTERS[EXPECTED[event][COLUMNS.index(LETTER_OF[state])]]

    if target is None:
        assert not machine.can_handle(event)
        with pytest.raises(InvalidTransition, match=f"{event.value}.*{state.value}"):
            machine.handle(event, 1.0)
    else:
        assert machine.can_handle(event)
        change = machine.handle(event, 1.0)
        assert (change is None) == (target is state)

    assert machine.state is (target or state)
    if target is None or target is state:
        assert heard == []
        assert machine.history == history
    else:
        assert heard == [StateChange(state, target, event, 1.0)]
        assert machine.history == (*history, heard[0])


@pytest.mark.parametrize(
    ("events", "states"),
    [
        (
            [E.CONNECT_REQUESTED, E.WEBSOCKET_OPEN, E.AUTH_SUCCESS, E.GATEWAY_READY],
            [S.CONNECTING, S.CONNECTING, S.CONNECTING, S.ACTIVE],
        ),
        (
            [E.GATEWAY_READY, E.ERROR_OCCURRED, E.CONNECT_REQUESTED, E.GATEWAY_READY],
            [S.ACTIVE, S.RECONNECTING, S.CONNECTING, S.ACTIVE],
        ),
        (
            [E.GATEWAY_READY, E.DRAINING_REQUESTED, E.NEW_CONNECTION_READY],
            [S.ACTIVE, S.DRAINING_RECONNECTING, S.ACTIVE],
        ),
        ([E.SHUTDOWN_REQUESTED, E.SHUTDOWN_COMPLETED], [S.CLOSING, S.CLOSED]),
        (
            [E.GATEWAY_READY, E.DRAINING_REQUESTED, E.DRAINING_REQUESTED, E.CONNECTION_LOST],
            [S.ACTIVE, S.DRAINING_RECONNECTING, S.DRAINING_RECONNECTING, S.RECONNECTING],
        ),
    ],
)
def test_usual_courses_lead_through_the_expected_states(events: list[E], states: list[S]) -> None:
    machine = ConnectionStateMachine()

    reached = []
    for event in events:
        machine.handle(event, 0.0)
        reached.append(machine.state)

    assert reached == states


@pytest.mark.parametrize("state", [s for s in PATH_TO if s is not S.CLOSED])
def test_a_shutdown_is_possible_from_every_living_state(state: S) -> None:
    machine = machine_in(state)

    machine.handle(E.SHUTDOWN_REQUESTED, 0.0)

    assert machine.state is S.CLOSING


def test_a_drain_is_active_outside() -> None:
    machine = machine_in(S.DRAINING_RECONNECTING)

    assert machine.external_state is S.ACTIVE
    assert machine.is_active()
    assert machine.is_draining()


def test_closed_is_terminal_and_paused_is_never_entered() -> None:
    assert machine_in(S.CLOSED).possible_events() == ()
    with pytest.raises(InvalidTransition, match=r"possible are: none$"):
        machine_in(S.CLOSED).handle(E.CONNECT_REQUESTED, 0.0)
    assert all(S.PAUSED not in (state, target) for (state, _), target in TRANSITIONS.items())


def test_closing_prevents_every_way_back_to_active() -> None:
    targets = {target for (state, _), target in TRANSITIONS.items() if state is S.CLOSING}

    assert targets == {S.CLOSING, S.CLOSED}


def test_the_history_keeps_the_last_fifty_changes() -> None:
    machine = machine_in(S.ACTIVE)

    for number in range(200):
        machine.handle((E.DRAINING_REQUESTED, E.NEW_CONNECTION_READY)[number % 2], float(number))

    assert len(machine.history) == HISTORY_LENGTH == 50
    assert machine.history[-1].at == 199.0


def test_a_listener_that_raises_breaks_neither_the_machine_nor_the_others() -> None:
    reported: list[tuple[Listener, Exception]] = []
    heard: list[StateChange] = []
    machine = ConnectionStateMachine(lambda listener, error: reported.append((listener, error)))

    def broken(_: StateChange) -> None:
        raise RuntimeError("broken")

    machine.add_listener(broken)
    machine.add_listener(heard.append)

    machine.handle(E.GATEWAY_READY, 0.0)

    assert machine.state is S.ACTIVE
    assert len(heard) == 1
    assert reported[0][0] is broken
    assert str(reported[0][1]) == "broken"


def test_a_broken_listener_without_a_reporter_is_still_harmless() -> None:
    machine = ConnectionStateMachine()
    machine.add_listener(lambda _: 1 / 0)  # type: ignore[arg-type]

    machine.handle(E.GATEWAY_READY, 0.0)

    assert machine.state is S.ACTIVE


def test_a_removed_listener_is_not_called_again() -> None:
    machine = ConnectionStateMachine()
    heard: list[StateChange] = []
    remove = machine.add_listener(heard.append)

    remove()
    remove()
    machine.handle(E.GATEWAY_READY, 0.0)

    assert heard == []


@pytest.mark.parametrize("state", list(PATH_TO))
def test_exactly_the_right_predicates_hold(state: S) -> None:
    machine = machine_in(state)

    assert machine.is_connecting() == (state is S.CONNECTING)
    assert machine.is_active() == (state in (S.ACTIVE, S.DRAINING_RECONNECTING))
    assert machine.is_reconnecting() == (state is S.RECONNECTING)
    assert machine.is_draining() == (state is S.DRAINING_RECONNECTING)
    assert machine.is_closing() == (state is S.CLOSING)
    assert machine.is_closed() == (state is S.CLOSED)
    assert machine.is_shutting_down() == (state in (S.CLOSING, S.CLOSED))


@given(st.lists(st.sampled_from(list(E))))
def test_no_sequence_of_events_leaves_the_table(events: list[E]) -> None:
    machine = ConnectionStateMachine()
    for event in events:
        before = machine.state
        try:
            machine.handle(event, 0.0)
        except InvalidTransition:
            assert machine.state is before
        assert machine.state in PATH_TO


Official = enum.Enum("ConnectionState", {"ACTIVE": "ACTIVE", "CLOSED": "CLOSED"})
Door = enum.Enum("Door", {"CLOSED": "CLOSED"})


class Recognizes:
    """Decides by itself what it equals."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S)


def test_a_state_equals_its_name_and_that_of_the_official_sdk() -> None:
    closed = S.CLOSED

    assert closed == "CLOSED"
    assert closed == Official.CLOSED
    assert closed == Recognizes()
    assert closed != "ACTIVE"
    assert closed != Official.ACTIVE
    assert closed != Door.CLOSED


@pytest.mark.parametrize("state", [S.CLOSED, "CLOSED", Official.CLOSED])
def test_a_state_is_found_by_its_name_and_by_that_of_the_official_sdk(
    state: S | enum.Enum | str,
) -> None:
    assert connection_state(state) is S.CLOSED


def test_an_unknown_state_is_refused_with_the_known_names() -> None:
    with pytest.raises(LocalMistake) as refused:
        connection_state("ACTIV")

    assert str(refused.value) == (
        "'ACTIV' is not a connection state; there are CONNECTING, ACTIVE, RECONNECTING, "
        "DRAINING_RECONNECTING, CLOSING, CLOSED, PAUSED"
    )
