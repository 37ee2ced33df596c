"""Why a function failed: what a reply says of it, and how much of that is reported."""

import json
from typing import Any

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.events import FunctionFailed, RequestCompleted
from inngest_connect.core.requests.failures import LONGEST_STACK, LONGEST_TEXT, Failure, failure_of
from inngest_connect.core.settings import CoreSettings, FailureDetails
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import Conversation, one, only

pytestmark = pytest.mark.unit
ERROR = pb.SDKResponseStatus.ERROR
PARTIAL = pb.SDKResponseStatus.NOT_COMPLETED
STACK = (
    'Traceback (most recent call last):\n  File "shop.py", line 7, in charge\nValueError: no card'
)
RAISED = {"code": "unknown", "name": "ValueError", "message": "no card\nat all", "stack": STACK}


def result(body: Any, status: pb.SDKResponseStatus = ERROR, no_retry: bool = False) -> Any:
    return ExecutionResult(status, json.dumps(body).encode(), no_retry)


def failure(body: Any, status: pb.SDKResponseStatus = ERROR) -> Failure | None:
    return failure_of(result(body, status), b"", "traceback")


def payload(**context: Any) -> bytes:
    return json.dumps({"event": {"data": {"attempt": 9}}, "ctx": context}).encode()


def fails(settings: CoreSettings | None = None) -> list[do.Command]:
    talk = Conversation(settings=settings or CoreSettings()).connected()
    talk.request("r1")
    return talk.happens(inputs.ExecutionFinished("r1", result(RAISED)))


def test_a_function_that_raises_is_reported_before_its_end_with_its_traceback() -> None:
    commands = fails()

    failed, completed = one(commands, FunctionFailed), one(commands, RequestCompleted)
    assert failed == FunctionFailed(
        "r1", "run-of-r1", "app-fn", "ValueError", "ValueError: no card", None, None, None, STACK
    )
    assert STACK not in repr(failed)
    assert (completed.status, completed.error) == ("ERROR", "ValueError: no card")
    assert commands.index(failed) < commands.index(completed)


@pytest.mark.parametrize(
    ("details", "error", "stack"),
    [
        ("traceback", "ValueError: no card", STACK),
        ("message", "ValueError: no card", None),
        ("type", "ValueError", None),
        ("none", "", None),
    ],
)
def test_an_option_decides_how_much_leaves_the_function(
    details: FailureDetails, error: str, stack: str | None
) -> None:
    commands = fails(CoreSettings(failure_details=details))

    failed = one(commands, FunctionFailed)
    assert (failed.error, failed.stack) == (error, stack)
    assert one(commands, RequestCompleted).error == (error or None)


def test_a_success_and_a_step_that_is_done_are_no_failures() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    commands = talk.function_returns("r1")

    assert only(commands, FunctionFailed) == []
    assert one(commands, RequestCompleted).error is None
    assert failure([{"op": "StepRun", "data": "StepError"}], PARTIAL) is None
    assert failure([{"op": "StepRun", "data": '"StepFailed"'}, "StepError"], PARTIAL) is None
    assert failure("StepError", PARTIAL) is None


@pytest.mark.parametrize(("operation", "will_retry"), [("StepError", True), ("StepFailed", False)])
def test_a_step_that_raises_is_named(operation: str, will_retry: bool) -> None:
    steps = [
        {"op": "StepRun", "displayName": "before", "data": 1},
        {"op": operation, "displayName": "charge", "id": "1a2b", "error": RAISED},
    ]
    found = failure_of(result(steps, PARTIAL), payload(attempt=0, max_attempts=4), "traceback")

    assert found is not None
    assert (found.step, found.text, found.stack) == ("charge", "ValueError: no card", STACK)
    assert (found.attempt, found.will_retry) == (0, will_retry)


@pytest.mark.parametrize(
    ("data", "no_retry", "attempt", "will_retry"),
    [
        (payload(attempt=0, max_attempts=4), False, 0, True),
        (payload(attempt=3, max_attempts=4), False, 3, False),
        (payload(attempt=1), False, 1, None),
        (payload(attempt=0, max_attempts=4), True, 0, False),
        (payload(attempt="0"), False, None, None),
        (b"[]", False, None, None),
        (b"not json", False, None, None),
        (b" " * 2**18 + payload(attempt=1), False, None, None),
    ],
)
def test_the_attempt_is_that_of_the_request_if_it_is_known(
    data: bytes, no_retry: bool, attempt: int | None, will_retry: bool | None
) -> None:
    found = failure_of(result(RAISED, no_retry=no_retry), data, "traceback")

    assert found is not None
    assert (found.attempt, found.will_retry) == (attempt, will_retry)


@pytest.mark.parametrize(
    "body", [None, [], {"name": 3, "message": ["x"], "stack": 4}, {"name": " "}]
)
def test_a_reply_in_another_form_is_a_failure_too(body: Any) -> None:
    found = failure(body)

    assert found is not None
    assert (found.text, found.stack) == ("an error that the reply does not name", None)


def test_an_error_that_is_too_large_to_be_parsed_is_a_failure_too() -> None:
    found = failure({**RAISED, "stack": "x" * 2**20})

    assert found is not None
    assert found.text == "an error that the reply does not name"


def test_texts_are_cleaned_and_shortened_and_the_end_of_a_traceback_is_kept() -> None:
    lines = [f"  line {number}" for number in range(5000)]
    body = {"name": "E\x1b[31m", "message": "\n\n" + "m" * 1000, "stack": "\n".join(lines) + "\x07"}
    found = failure(body)

    assert found is not None
    assert found.text == "E\\x1b[31m: " + "m" * LONGEST_TEXT + "..."
    assert found.stack is not None
    assert len(found.stack) < LONGEST_STACK + 10
    assert found.stack.startswith("...\n  line ")
    assert found.stack.endswith("line 4999\\x07")


def test_a_request_that_this_worker_cannot_run_is_no_failure_of_a_function() -> None:
    talk = Conversation().connected()
    commands = talk.request("r1", function="app-unknown")

    assert only(commands, FunctionFailed) == []
    assert one(commands, RequestCompleted).status == "ERROR"
