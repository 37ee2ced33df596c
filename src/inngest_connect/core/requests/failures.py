"""``failure_of``: why a function failed, as its reply says it.

Every executor, child processes included, hands over a reply in the shape of the SDK: a failed
function is one error object, and a failed step is one in the list of steps. So what is reported is
what Inngest is told. The texts are user code's, and are cleaned and shortened here.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from ...protocol import connect_pb2 as pb
from ..settings import FailureDetails
from ..wire.messages import ExecutionResult
from ..wire.remote_text import LONGEST, clean

# The end of a traceback is where the exception was raised. Every character is compared with the
# secrets of the worker, on its I/O thread.
LONGEST_STACK: Final = 4000
LONGEST_TEXT: Final = 400
_LONGEST_LINE: Final = 400

# Larger replies and payloads are not parsed: that would take milliseconds of the I/O thread.
_LARGEST_ERROR: Final = 2**20
_LARGEST_PAYLOAD: Final = 2**18

# Looked up once: reading a member of a protobuf enum costs as much as parsing a small message.
_ERROR: Final = pb.SDKResponseStatus.ERROR
_NOT_COMPLETED: Final = pb.SDKResponseStatus.NOT_COMPLETED

# The SDK's operations for a step that raised: it is tried again, and it is not.
_STEP_ERROR: Final = "StepError"
_STEP_FAILED: Final = "StepFailed"


@dataclass(frozen=True, slots=True)
class Failure:
    """``text`` is one line; ``step`` is the name of the step that raised."""

    error_type: str
    text: str
    stack: str | None
    step: str | None
    attempt: int | None
    will_retry: bool | None


def failure_of(result: ExecutionResult, payload: bytes, details: FailureDetails) -> Failure | None:
    """What ``result`` says of an error, as far as ``details`` allows; None for a success.

    ``payload`` is that of the request, which has the number of the attempt.
    """
    step, will_retry = None, False if result.no_retry else None
    body = result.body
    if result.status == _ERROR:
        error = _parsed(body, _LARGEST_ERROR)
    elif result.status == _NOT_COMPLETED and (
        _STEP_ERROR.encode() in body or _STEP_FAILED.encode() in body
    ):
        failed = _failed_step(_parsed(body, _LARGEST_ERROR))
        if failed is None:
            return None
        step, error = failed.get("displayName") or failed.get("id"), failed.get("error")
        if failed["op"] == _STEP_FAILED:
            will_retry = False
    else:
        return None
    attempt, is_last = _attempt(payload)
    if will_retry is None and is_last is not None:
        will_retry = not is_last
    if details == "none":
        return Failure("", "", None, None, attempt, will_retry)
    fields = error if isinstance(error, dict) else {}
    error_type = _line(fields.get("name"), LONGEST) or "an error that the reply does not name"
    message = _line(fields.get("message"), LONGEST_TEXT)
    shows_message = message and details != "type"
    text = f"{error_type}: {message}" if shows_message else error_type
    stack = _stack(fields.get("stack")) if details == "traceback" else None
    return Failure(error_type, text, stack, _line(step, LONGEST) or None, attempt, will_retry)


def _failed_step(steps: Any) -> dict[str, Any] | None:
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and step.get("op") in (_STEP_ERROR, _STEP_FAILED):
            return step
    return None


def _attempt(payload: bytes) -> tuple[int | None, bool | None]:
    """The number of the attempt, from 0, and whether it is the last one."""
    request = _parsed(payload, _LARGEST_PAYLOAD)
    context = request.get("ctx") if isinstance(request, dict) else None
    if not isinstance(context, dict):
        return None, None
    attempt, most = context.get("attempt"), context.get("max_attempts")
    if type(attempt) is not int:
        return None, None
    return attempt, attempt + 1 >= most if type(most) is int else None


def _parsed(data: bytes, largest: int) -> Any:
    if len(data) > largest:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _line(text: object, longest: int) -> str:
    """The first line that has something in it."""
    lines = text.strip().splitlines() if isinstance(text, str) else []
    return clean(lines[0].strip(), longest) if lines else ""


def _stack(stack: object) -> str | None:
    if not isinstance(stack, str) or not stack.strip():
        return None
    kept = stack.strip()
    if len(kept) > LONGEST_STACK:
        kept = "...\n" + kept[-LONGEST_STACK:].partition("\n")[2]
    return "\n".join(clean(line, _LONGEST_LINE) for line in kept.split("\n"))
