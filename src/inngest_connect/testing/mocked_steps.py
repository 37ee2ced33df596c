"""MockedSteps: the results that a test gives for steps, so that their functions are not called."""

import json
from collections.abc import Mapping
from typing import Any

from ..core.wire.user_text import class_name, error_message, is_a, shown_value

Opcode = dict[str, Any]


def step_name(op: Opcode) -> str:
    """The id of a step as its function wrote it, without what the SDK makes of it."""
    return str(op.get("displayName") or op.get("name") or op["id"])


class MockedSteps:
    """What a step returns or raises, by its id. An id that is used again has the same result."""

    def __init__(self, steps: Mapping[str, Any]) -> None:
        """Raises TypeError for a result that is not JSON, which no step could return."""
        for name, result in steps.items():
            try:
                is_a(result, Exception) or json.dumps(result)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"the mock of step {name!r} is {shown_value(result)}, which is not JSON: "
                    f"{error}; pass what the step would return, or an exception that it raises"
                ) from None
        self._steps = dict(steps)
        self._unused = list(steps)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def __contains__(self, op: Opcode) -> bool:
        return step_name(op) in self._steps

    def memo(self, op: Opcode) -> Any:
        """What the server would keep of the step."""
        name = step_name(op)
        if name in self._unused:
            self._unused.remove(name)
        result = self._steps[name]
        if is_a(result, Exception):
            return {"error": {"message": error_message(result), "name": class_name(result)}}
        if op["op"] == "Sleep":
            return None
        if op["op"] == "WaitForEvent":
            # An event, which is not wrapped; or None, when the wait has timed out.
            event: dict[str, Any] = {"name": op.get("name"), "data": {}, "id": "", "ts": 0}
            return result and {**event, **result}
        return {"data": result}

    def check_used(self, seen: Mapping[str, Any]) -> None:
        """Raises AssertionError for a mock of no step: the one that was meant was called."""
        if self._unused:
            steps = ", ".join(map(repr, seen)) or "none"
            raise AssertionError(
                f"steps={{{self._unused[0]!r}: ...}} mocks a step that the function does not have, "
                f"or did not reach; it had: {steps}"
            )
