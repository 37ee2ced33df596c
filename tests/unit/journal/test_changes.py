"""Changes: nothing that the file has to have is forgotten, whatever comes in between."""

import pytest

from inngest_connect.journal.changes import Changes
from inngest_connect.journal.rows import Row
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit


def request(request_id: str) -> pb.GatewayExecutorRequestData:
    return pb.GatewayExecutorRequestData(request_id=request_id)


def test_a_request_that_has_come_again_is_newer_than_what_a_file_has_of_it() -> None:
    changes = Changes()
    changes.record(request("a"), b"new")

    ours = changes.adopt({"a": Row(request("a"), 1.0, None), "b": Row(request("b"), 1.0, b"old")})

    replies = {key: row.reply for key, row in changes.all().items()}
    assert replies == {"a": b"new", "b": b"old"}
    assert list(ours) == ["a"]


def test_what_could_not_be_written_is_as_old_as_its_oldest_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("inngest_connect.journal.changes.monotonic", lambda: now)
    changes = Changes()
    changes.record(request("a"), None)
    for now in (103.0, 104.0, 107.0):
        taken = changes.take()
        changes.record(request(f"at {now}"), None)
        during = changes.lag
        changes.put_back(taken)

        assert during == changes.lag == now - 100.0

    assert list(changes.take()) == ["a", "at 103.0", "at 104.0", "at 107.0"]


def test_a_change_while_another_is_written_is_not_taken_for_written() -> None:
    changes = Changes()
    changes.record(request("a"), None)
    changes.take()
    assert (changes.are_written, changes.wake.is_set()) == (True, False)

    changes.record(request("a"), b"reply")

    assert (changes.are_written, changes.wake.is_set()) == (False, True)
    assert list(changes.take()) == ["a"]
