"""``executor_request``: what an executor sends to call a function."""

import json
import secrets
from typing import Any, Final

from ..protocol import connect_pb2 as pb

TRACE_CONTEXT: Final = b'{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'


def executor_request(
    app_name: str,
    function_slug: str,
    event: dict[str, Any],
    *,
    run_id: str = "run",
    step_id: str = "step",
    attempt: int = 0,
    steps: dict[str, Any] | None = None,
    parallel: bool = False,
    defers: tuple[str, ...] = (),
    request_id: str = "",
    lease_id: str = "",
) -> pb.GatewayExecutorRequestData:
    """Return a request that calls a function, for ``send_executor_request`` or a ``GatewayStore``.

    ``steps`` are the results so far and ``defers`` what the run has deferred so far (inngest 0.5.20
    and later), both by hashed step id. With ``parallel`` the SDK plans steps and does not run them.
    A ``GatewayStore`` fills in ``request_id`` and ``lease_id``.
    """
    memos = steps or {}
    body: dict[str, Any] = {
        "ctx": {
            "attempt": attempt,
            "disable_immediate_execution": parallel,
            "run_id": run_id,
            "stack": {"stack": list(memos), "current": len(memos)},
        },
        "event": event,
        "events": [event],
        "steps": memos,
        "use_api": False,
    }
    if defers:
        body["defers"] = {hashed_id: {"abortable": True} for hashed_id in defers}
    return pb.GatewayExecutorRequestData(
        request_id=request_id,
        account_id="account",
        env_id="env",
        app_id=f"id-of-{app_name}",
        app_name=app_name,
        function_id=f"id-of-{function_slug}",
        function_slug=function_slug,
        step_id=step_id,
        request_payload=json.dumps(body).encode(),
        system_trace_ctx=TRACE_CONTEXT,
        user_trace_ctx=TRACE_CONTEXT,
        run_id=run_id,
        lease_id=lease_id,
        job_id=secrets.token_hex(8),
    )
