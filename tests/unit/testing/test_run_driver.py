"""RunDriver with scripted replies: how runs end, and what is deferred."""

import json
from typing import Any

import pytest

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.run_driver import FunctionInfo, RunDriver

pytestmark = pytest.mark.unit

ADD = {
    "op": "DeferAdd",
    "id": "hash-of-d1",
    "displayName": "d1",
    "opts": {"fn_slug": "app-child", "input": {"n": 1}, "meta": {"sessions": {"k": "v"}}},
}
ABORT = {
    "op": "DeferAbort",
    "id": "hash-of-abort",
    "opts": {"target_hashed_id": "hash-of-d1", "fn_slug": "app-child", "id": "d1"},
}
COMPLETE = {"op": "RunComplete", "id": "hash-of-complete", "data": "parent"}
STEP = {"op": "StepRun", "id": "hash-of-s", "displayName": "s", "data": 1}


class Script:
    """Answers the requests of each function with the replies given for it, the last one again."""

    def __init__(self, **replies: list[Any]) -> None:
        self._replies = {f"app-{name}": given for name, given in replies.items()}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.driver = RunDriver(self._dispatch, self._find, lambda opcode: None)

    def _find(self, slug: str) -> FunctionInfo:
        if slug not in self._replies:
            raise LookupError(slug)
        return FunctionInfo("app", slug, retries=0)

    async def _dispatch(self, request: pb.GatewayExecutorRequestData) -> pb.SDKResponse:
        slug = request.function_slug
        self.requests.append((slug, json.loads(request.request_payload)))
        replies = self._replies[slug]
        body = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(body, list):
            status = pb.SDKResponseStatus.NOT_COMPLETED
        elif isinstance(body, Exception):
            status, body = pb.SDKResponseStatus.ERROR, {"message": str(body)}
        else:
            status = pb.SDKResponseStatus.DONE
        return pb.SDKResponse(status=status, body=json.dumps(body).encode())

    def requests_of(self, slug: str) -> list[dict[str, Any]]:
        return [request for name, request in self.requests if name == slug]


async def test_what_is_deferred_runs_after_its_parent_has_ended() -> None:
    script = Script(parent=[[ADD, COMPLETE]], child=["from the child"])

    result = await script.driver.run("app-parent", {"name": "x", "data": {}})

    assert (result.status, result.output, result.requests) == ("completed", "parent", 1)
    assert [(run.function, run.output) for run in result.deferred] == [
        ("app-child", "from the child")
    ]
    (request,) = script.requests_of("app-child")
    assert request["event"]["name"] == "inngest/deferred.schedule"
    assert request["event"]["meta"] == {"sessions": {"k": "v"}}
    assert request["event"]["data"] == {
        "n": 1,
        "_inngest": {
            "fn_slug": "app-child",
            "parent_fn_slug": "app-parent",
            "parent_run_id": result.run_id,
        },
    }


async def test_a_run_is_shown_what_it_has_deferred_already() -> None:
    """Or the SDK defers it again with every request."""
    script = Script(parent=[[ADD, STEP], "done"], child=["x"])

    await script.driver.run("app-parent", {})

    first, second = script.requests_of("app-parent")
    assert "defers" not in first
    assert second["defers"] == {"hash-of-d1": {"abortable": True}}
    assert list(second["steps"]) == ["hash-of-s"]


async def test_what_is_aborted_does_not_run() -> None:
    script = Script(parent=[[ADD, STEP], [ABORT, COMPLETE]], child=["x"])

    result = await script.driver.run("app-parent", {})

    assert result.deferred == []
    assert script.requests_of("app-child") == []


async def test_what_was_deferred_runs_after_a_failed_parent_too() -> None:
    script = Script(parent=[[ADD, STEP], ValueError("no")], child=["x"])

    result = await script.driver.run("app-parent", {})

    assert result.status == "failed"
    assert [run.status for run in result.deferred] == ["completed"]


@pytest.mark.parametrize("reply", [[], [STEP], [{"op": "Unheard", "id": "u"}]])
async def test_a_function_whose_replies_bring_nothing_new_fails(reply: list[Any]) -> None:
    """Each of them asks for the same request again; so it never ends."""
    script = Script(parent=[reply])

    result = await script.driver.run("app-parent", {})

    assert result.status == "failed"
    assert result.requests <= 11
    assert "replies in a row brought nothing new" in result.error["message"]
