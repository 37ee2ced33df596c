"""LeaseTable."""

import pytest

from inngest_connect.core.requests.leases import LeaseTable

pytestmark = pytest.mark.unit
FIRST, SECOND, THIRD = (f"01ARZ3NDEKTSV4RRFFQ69G5F{tail}" for tail in ("AA", "BB", "CC"))


def table_with(*request_ids: str, interval: float = 30.0) -> LeaseTable:
    table = LeaseTable(interval)
    for request_id in request_ids:
        table.grant(request_id, FIRST, 0.0)
    return table


@pytest.mark.scenario("29")
def test_an_extension_is_due_one_interval_after_the_grant() -> None:
    table = table_with("r")

    assert table.next_deadline() == 30.0
    assert table.take_due(29.9, 10) == []
    assert [lease.lease_id for lease in table.take_due(30.0, 10)] == [FIRST]


def test_an_unanswered_extension_is_repeated_with_the_same_id() -> None:
    table = table_with("r")
    table.take_due(30.0, 10)

    again = table.take_due(35.0, 10)

    assert [lease.lease_id for lease in again] == [FIRST]


def test_there_is_one_outstanding_extension_per_request() -> None:
    table = table_with("r")
    table.take_due(30.0, 10)

    assert table.take_due(34.9, 10) == []


@pytest.mark.scenario("30")
def test_an_answer_rotates_the_id_and_schedules_the_next() -> None:
    table = table_with("r")
    table.take_due(30.0, 10)

    assert table.extended("r", SECOND, 31.0)
    assert table.next_deadline() == 61.0
    assert table.take_due(61.0, 10)[0].lease_id == SECOND


def test_a_late_answer_cannot_regress_the_id() -> None:
    table = table_with("r")
    table.extended("r", THIRD, 1.0)

    table.extended("r", SECOND, 2.0)

    lease = table.get("r")
    assert lease is not None
    assert lease.lease_id == THIRD


@pytest.mark.scenario("32")
def test_a_released_lease_is_not_resurrected_by_an_answer() -> None:
    table = table_with("r")

    assert table.release("r")
    assert not table.release("r")
    assert not table.extended("r", SECOND, 1.0)
    assert len(table) == 0
    assert table.next_deadline() is None


@pytest.mark.scenario("34")
def test_a_new_connection_repeats_what_was_outstanding_at_once() -> None:
    table = table_with("asked", "idle")
    table.take_due(30.0, 1)

    table.connection_changed(31.0, replaced=False)

    assert {lease.request_id for lease in table.take_due(31.0, 10)} == {"asked", "idle"}


@pytest.mark.scenario("K")
def test_a_shorter_interval_brings_extensions_forward_and_a_longer_one_does_not_delay_them() -> (
    None
):
    table = table_with("r")

    table.set_interval(5.0, 0.0)
    shortened = table.next_deadline()
    table.set_interval(40.0, 0.0)

    assert (shortened, table.next_deadline()) == (5.0, 5.0)


def test_a_lease_whose_interval_was_shortened_is_the_one_that_is_due() -> None:
    table = table_with("r1")

    table.set_interval(5.0, 1.0)

    assert [lease.request_id for lease in table.take_due(6.0, 10)] == ["r1"]
    assert table.take_due(6.0, 10) == []


def test_a_new_connection_waits_for_no_answer_of_the_old_one() -> None:
    table = table_with("r1")
    (lease,) = table.take_due(30.0, 1)

    table.connection_changed(31.0, replaced=False)

    assert lease.outstanding is False


def test_at_most_so_many_are_taken_at_a_time() -> None:
    table = table_with(*(f"r{n}" for n in range(10_000)))

    first = table.take_due(30.0, 200)
    rest = table.take_due(30.0, 10_000)

    assert len(first) == 200
    assert len(rest) == 9_800
    assert {lease.request_id for lease in table} == {f"r{n}" for n in range(10_000)}


def test_a_second_grant_adopts_a_newer_id_only() -> None:
    table = table_with("r")
    table.grant("r", SECOND, 5.0)
    table.grant("r", FIRST, 6.0)

    lease = table.get("r")
    assert lease is not None
    assert lease.lease_id == SECOND
    assert "r" in table
    assert table.next_extension("r") == 30.0


def test_an_answer_that_brings_no_newer_id_delays_nothing() -> None:
    """The server extends once for an id, and answers its repetitions with what it granted then."""
    table = table_with("r")
    table.take_due(30.0, 10)
    table.extended("r", SECOND, 31.0)

    assert table.extended("r", SECOND, 40.0)

    assert table.next_extension("r") == 61.0


def test_an_answer_that_comes_again_is_no_answer_to_the_next_extension() -> None:
    table = table_with("r")
    table.take_due(30.0, 10)
    table.extended("r", SECOND, 31.0)
    table.take_due(61.0, 10)

    table.extended("r", SECOND, 62.0)

    assert table.next_extension("r") == 66.0


def test_the_answer_to_a_repetition_counts_from_when_it_was_asked_for_first() -> None:
    """It may repeat an answer that was lost, and then the lease has run since."""
    table = table_with("r")
    for now in (30.0, 35.0, 40.0):
        table.take_due(now, 10)

    table.extended("r", SECOND, 44.0)
    after_repetitions = table.next_extension("r")
    table.take_due(60.0, 10)
    table.extended("r", THIRD, 61.0)

    assert (after_repetitions, table.next_extension("r")) == (60.0, 91.0)


def test_what_a_lost_connection_was_asked_for_first_counts_too() -> None:
    table = table_with("r")
    table.take_due(30.0, 10)
    table.connection_changed(33.0, replaced=False)
    table.take_due(33.0, 10)

    table.extended("r", SECOND, 34.0)

    assert table.next_extension("r") == 60.0


def test_an_id_that_came_with_the_request_was_not_asked_for() -> None:
    table = table_with("r")
    table.take_due(30.0, 10)
    table.grant("r", SECOND, 32.0)
    table.take_due(35.0, 10)

    table.extended("r", THIRD, 36.0)

    assert table.next_extension("r") == 66.0


def test_a_refused_repetition_says_nothing_about_the_lease_that_was_extended() -> None:
    """Servers before August 2026 refuse the id that they have just replaced."""
    table = table_with("r")
    for now in (30.0, 35.0, 40.0):
        table.take_due(now, 10)
    table.extended("r", SECOND, 41.0)

    refused = [table.refused("r"), table.refused("r"), table.refused("r")]

    assert refused == [False, False, True]
    assert "r" not in table


def test_a_repetition_that_is_answered_excuses_no_refusal() -> None:
    table = table_with("r")
    for now in (30.0, 35.0):
        table.take_due(now, 10)
    table.extended("r", SECOND, 36.0)
    table.extended("r", SECOND, 37.0)

    assert table.refused("r")


def test_what_was_asked_on_a_former_connection_excuses_no_refusal() -> None:
    table = table_with("r")
    for now in (30.0, 35.0):
        table.take_due(now, 10)
    table.extended("r", SECOND, 36.0)
    table.connection_changed(37.0, replaced=False)

    assert table.refused("r")
    assert not table.refused("r")


def test_what_was_sent_on_a_lost_connection_excuses_no_refusal() -> None:
    """Its answers cannot come, so a refusal is that of the lease."""
    table = table_with("r")
    for now in (30.0, 35.0, 40.0):
        table.take_due(now, 10)
    table.connection_changed(45.0, replaced=False)
    table.take_due(45.0, 10)
    table.extended("r", SECOND, 46.0)

    assert table.refused("r")


def test_a_drained_connection_may_still_refuse_a_repetition() -> None:
    table = table_with("r")
    for now in (30.0, 35.0):
        table.take_due(now, 10)
    table.connection_changed(36.0, replaced=True)
    table.take_due(36.0, 10)
    table.extended("r", SECOND, 37.0)

    refused = [table.refused("r"), table.refused("r"), table.refused("r")]

    assert refused == [False, False, True]


def test_an_extension_that_a_newer_grant_has_overtaken_may_be_refused() -> None:
    table = table_with("r")
    table.take_due(30.0, 10)
    table.grant("r", SECOND, 31.0)

    assert not table.refused("r")
    assert table.refused("r")


def test_an_answer_to_nothing_is_taken() -> None:
    table = table_with("r")

    table.extended("r", SECOND, 5.0)

    assert table.next_extension("r") == 35.0
    assert table.refused("r")


def test_an_extension_that_is_overdue_waits_for_the_next_millisecond() -> None:
    """Two ids of one millisecond are in any order, and the smaller one would be ignored."""
    table = table_with("r")
    for now in range(30, 75, 5):
        table.take_due(float(now), 10)

    table.extended("r", SECOND, 74.0)

    assert table.next_extension("r") == 74.1


def test_an_answer_to_a_later_extension_ends_the_excuse_of_a_refusal() -> None:
    """Answers of a gateway that never came are not waited for without end."""
    table = table_with("r")
    for now in (30.0, 35.0, 40.0):
        table.take_due(now, 10)
    table.extended("r", SECOND, 41.0)
    table.take_due(60.0, 10)
    table.extended("r", THIRD, 60.1)

    assert table.refused("r")
