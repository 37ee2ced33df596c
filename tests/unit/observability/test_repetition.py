"""Folding: the first is written immediately, the rest is counted, nothing is held back."""

import pytest

from inngest_connect.core import events as seen
from inngest_connect.observability.records import Record, record_of
from inngest_connect.observability.repetition import LONGEST_WINDOW, MOST_KINDS, Folding

pytestmark = pytest.mark.unit


def trouble(detail: str = "x", kind: str = "k") -> Record:
    return Record("warning", "error", {"kind": kind, "detail": detail}, 1)


def counts(records: list[Record]) -> list[int]:
    """``repeated`` of each record, 0 for one that is not a summary."""
    return [record.fields.get("repeated", 0) for record in records]


def test_the_first_is_written_immediately_and_the_rest_counted_until_the_window_ends() -> None:
    folding = Folding()

    written = [counts(folding.add(trouble(), float(at))) for at in (0, 1, 30, 59, 60)]

    assert written == [[0], [], [], [], [3]]
    assert folding.passed(179.0) == []
    assert counts(folding.passed(180.0)) == [1]


def test_each_window_with_repetitions_is_followed_by_one_of_twice_its_length() -> None:
    folding = Folding()

    reported_at = [at for at in range(4000) if folding.add(trouble(), float(at))]

    assert reported_at == [0, 60, 180, 420, 900, 1500, 2100, 2700, 3300, 3900]
    assert reported_at[-1] - reported_at[-2] == LONGEST_WINDOW


def test_after_a_quiet_window_the_next_one_is_a_first_one_again() -> None:
    folding = Folding()
    folding.add(trouble(), 0.0)

    assert folding.passed(60.0) == []
    assert counts(folding.add(trouble(), 61.0)) == [0]
    assert folding.add(trouble(), 62.0) == []


def test_something_different_brings_the_summary_before_it() -> None:
    folding = Folding()
    folding.add(trouble("a"), 0.0)
    folding.add(trouble("a"), 1.0)

    written = folding.add(Record("info", "connected", {}), 2.0)

    assert [(record.event, record.fields.get("repeated")) for record in written] == [
        ("error", 1),
        ("connected", None),
    ]
    assert written[0].fields["within_seconds"] == 2.0


def test_two_kinds_in_turn_do_not_keep_each_other_from_being_folded() -> None:
    folding = Folding()

    written = [
        record
        for at in range(50)
        for record in folding.add(trouble("a" if at % 2 else "b"), float(at))
    ]

    assert counts(written) == [0, 0]
    assert counts(folding.close(50.0)) == [24, 24]


def test_numbers_and_ids_do_not_make_another_kind_but_words_do() -> None:
    folding = Folding()
    first = "request 01ARZ3NDEKTSV4RRFFQ69G5FAV failed after 1.5 s"

    assert folding.add(trouble(first), 0.0)
    assert not folding.add(trouble(first.replace("AV ", "AW ").replace("1.5", "22")), 1.0)
    assert folding.add(trouble(first.replace("failed", "ended")), 2.0)
    assert folding.add(trouble(first, kind="other"), 3.0)


@pytest.mark.parametrize("kind", ["reply_evicted", "reply_refused", "reply_undelivered"])
def test_a_lost_result_is_never_folded(kind: str) -> None:
    folding = Folding()
    lost = [record_of(seen.ErrorOccurred(kind, "text", f"r{number}")) for number in range(100)]

    written = [record for one in lost for record in folding.add(one, 0.0)]

    assert written == lost


def test_an_allowance_lets_some_pass() -> None:
    folding = Folding()
    connected = Record("info", "connected", {}, 3)

    assert [len(folding.add(connected, 0.0)) for _ in range(5)] == [1, 1, 1, 0, 0]


def test_kinds_are_bounded_and_the_forgotten_are_reported() -> None:
    folding = Folding()
    reported = 0
    for number in range(3 * MOST_KINDS):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        for _ in range(2):
            reported += sum(counts(folding.add(trouble(name), 0.0)))

    reported += sum(counts(folding.close(0.0)))

    assert reported == 3 * MOST_KINDS
    assert len(folding._folds) == MOST_KINDS


def test_a_summary_says_in_which_time_the_repetitions_were() -> None:
    folding = Folding()
    folding.add(trouble(), 0.0)
    folding.add(trouble(), 59.0)
    first = folding.passed(60.0)
    folding.add(trouble(), 179.0)
    second = folding.passed(180.0)

    assert [r.fields["within_seconds"] for r in (*first, *second)] == [60.0, 120.0]


@pytest.mark.parametrize(("delay", "allowance"), [(119.9, 1), (120.0, None)])
def test_attempts_that_are_far_apart_have_a_line_each(delay: float, allowance: int | None) -> None:
    assert record_of(seen.Reconnecting(9, delay, "x")).allowance == allowance
