"""RunDriver: takes a run from its event to its end, the way the executor does.

A function is called again and again with what its steps returned so far, until it returns or fails
for good. Sleeps are skipped, waits are answered by the test, planned steps run at once in parallel.
What it has deferred runs when it has ended (``ctx.defer`` of inngest 0.5.20 and later).
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..protocol import connect_pb2 as pb
from .executor_request import executor_request
from .gateway_store import DispatchFailed
from .model.ulid import make_ulid

Dispatch = Callable[[pb.GatewayExecutorRequestData], Awaitable[pb.SDKResponse]]
Event = dict[str, Any]
WaitForEvent = Callable[[dict[str, Any]], Event | None]

IDLE_REPLIES: Final = 10
"""Replies in a row that bring nothing new, after which a run fails: it would never end."""


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """What WORKER_CONNECT says of a function."""

    app_name: str
    slug: str
    retries: int
    events: tuple[str, ...] = ()
    """Names of the events that trigger it."""


@dataclass(slots=True)
class RunResult:
    """How a run ended. ``attempts`` counts the requests of the last step or function tried."""

    run_id: str
    function: str
    status: Literal["completed", "failed"] = "failed"
    output: Any = None
    error: Any = None
    steps: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    requests: int = 0
    lost: int = 0
    duration: float = 0.0
    deferred: list["RunResult"] = field(default_factory=list)
    """The runs of what the function has deferred, in that order."""


@dataclass(slots=True)
class _Run:
    info: FunctionInfo
    event: Event
    result: RunResult
    memos: dict[str, Any] = field(default_factory=dict)
    parallel: bool = False
    defers: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """Options of what is deferred, by hashed id; None for what was aborted."""


class RunDriver:
    """``dispatch`` sends one request; ``retry_delay`` is seconds between attempts."""

    def __init__(
        self,
        dispatch: Dispatch,
        find: Callable[[str], FunctionInfo],
        wait_for_event: WaitForEvent,
        retry_delay: float = 0.0,
    ) -> None:
        self._dispatch = dispatch
        self._find = find
        self._wait_for_event = wait_for_event
        self._retry_delay = retry_delay

    async def run(self, slug: str, event: Event) -> RunResult:
        """Drive one run to its end, its failure handler included."""
        info = self._find(slug)
        result = RunResult(make_ulid(time.time(), secrets.randbits), info.slug)
        run = _Run(info, event, result)
        begun = time.monotonic()
        await self._until_ended(run)
        result.duration = time.monotonic() - begun
        if result.status == "failed":
            await self._on_failure(run)
        for options in run.defers.values():
            if options is not None:
                slug = options["fn_slug"]
                result.deferred.append(await self.run(slug, _deferred_event(run, options)))
        return result

    async def _until_ended(self, run: _Run) -> None:
        attempt = idle = 0
        while True:
            response = await self._call(run, "step", attempt)
            run.result.attempts = attempt + 1
            if response is not None and response.status == pb.SDKResponseStatus.DONE:
                run.result.status = "completed"
                run.result.output = json.loads(response.body)
                return
            if response is not None and response.status == pb.SDKResponseStatus.NOT_COMPLETED:
                known = len(run.memos) + len(run.defers)
                opcodes = _opcodes(response)
                retry = await self._steps(run, opcodes, attempt, response.no_retry)
                if run.result.status == "completed":
                    return
                idle = 0 if retry or len(run.memos) + len(run.defers) > known else idle + 1
                if idle == IDLE_REPLIES:
                    kinds = ", ".join(sorted({op["op"] for op in opcodes})) or "no opcode"
                    text = f"{idle} replies in a row brought nothing new ({kinds})"
                    run.result.error = _step_error({"message": text, "name": "RunDriverError"})
                    return
                attempt = attempt + 1 if retry else 0
                continue
            error = json.loads(response.body) if response is not None else "no response"
            no_retry = response is not None and response.no_retry
            if no_retry or attempt >= run.info.retries:
                run.result.error = error
                return
            attempt += 1
            await asyncio.sleep(self._retry_delay)

    async def _call(self, run: _Run, step_id: str, attempt: int) -> pb.SDKResponse | None:
        """One request; None when the worker was lost."""
        run.result.requests += 1
        message = executor_request(
            run.info.app_name,
            run.info.slug,
            run.event,
            run_id=run.result.run_id,
            step_id=step_id,
            attempt=attempt,
            steps=run.memos,
            parallel=run.parallel,
            defers=tuple(run.defers),
        )
        try:
            return await self._dispatch(message)
        except DispatchFailed:
            run.result.lost += 1
            return None

    # --- steps -------------------------------------------------------------------------------

    async def _steps(
        self, run: _Run, opcodes: list[dict[str, Any]], attempt: int, no_retry: bool
    ) -> bool:
        """Take each opcode's result into the memos. Returns whether the same has to be retried."""
        planned = [op for op in opcodes if op["op"] == "StepPlanned"]
        others = [op for op in opcodes if op["op"] != "StepPlanned"]
        run.parallel = run.parallel or bool(planned)
        retry = False
        for op in others:
            retry = await self._step(run, op, attempt, no_retry) or retry
        if planned:
            await asyncio.gather(*(self._planned(run, op) for op in planned))
        if retry:
            await asyncio.sleep(self._retry_delay)
        return retry

    async def _planned(self, run: _Run, op: dict[str, Any]) -> None:
        attempt = 0
        while True:
            response = await self._call(run, op["id"], attempt)
            if response is None or response.status == pb.SDKResponseStatus.ERROR:
                if attempt >= run.info.retries:
                    error = json.loads(response.body) if response is not None else {}
                    self._memo(run, op, {"error": _step_error(error)})
                    return
                attempt += 1
                continue
            retry = False
            for result in _opcodes(response):
                retry = await self._step(run, result, attempt, response.no_retry) or retry
            if not retry:
                return
            attempt += 1

    async def _step(self, run: _Run, op: dict[str, Any], attempt: int, no_retry: bool) -> bool:
        kind = op["op"]
        if kind == "StepError" and not no_retry and attempt < run.info.retries:
            return True
        if kind in ("StepError", "StepFailed"):
            self._memo(run, op, {"error": _step_error(op.get("error"))})
        elif kind == "WaitForEvent":
            self._memo(run, op, self._wait_for_event(op))
        elif kind == "InvokeFunction":
            self._memo(run, op, await self._invoke(op))
        elif kind == "Sleep":
            self._memo(run, op, None)
        elif kind == "DeferAdd":
            run.defers[op["id"]] = op["opts"]
        elif kind == "DeferAbort":
            run.defers[op["opts"]["target_hashed_id"]] = None
        elif kind == "RunComplete":
            run.result.status = "completed"
            run.result.output = op.get("data")
        else:
            self._memo(run, op, {"data": op.get("data")})
        return False

    async def _invoke(self, op: dict[str, Any]) -> dict[str, Any]:
        options = op.get("opts") or {}
        data = (options.get("payload") or {}).get("data")
        event = {"name": "inngest/function.invoked", "data": data or {}}
        result = await self.run(options["function_id"], event)
        if result.status == "completed":
            return {"data": result.output}
        return {"error": _step_error(result.error)}

    def _memo(self, run: _Run, op: dict[str, Any], memo: Any) -> None:
        run.memos[op["id"]] = memo
        name = op.get("displayName") or op.get("name") or op["id"]
        run.result.steps[name] = memo.get("data", memo) if isinstance(memo, dict) else memo

    async def _on_failure(self, run: _Run) -> None:
        """Run the failure handler, if the function has one."""
        try:
            info = self._find(f"{run.info.slug}-failure")
        except LookupError:
            return
        event = {
            "name": "inngest/function.failed",
            "data": {
                "error": run.result.error,
                "event": run.event,
                "function_id": run.info.slug,
                "run_id": run.result.run_id,
            },
        }
        handled = RunResult(make_ulid(time.time(), secrets.randbits), info.slug)
        await self._until_ended(_Run(info, event, handled))


def _deferred_event(run: _Run, options: dict[str, Any]) -> Event:
    routing = {
        "fn_slug": options["fn_slug"],
        "parent_fn_slug": run.info.slug,
        "parent_run_id": run.result.run_id,
    }
    event: Event = {
        "name": "inngest/deferred.schedule",
        "data": {**options.get("input", {}), "_inngest": routing},
        "id": "",
        "ts": 0,
    }
    if "meta" in options:
        event["meta"] = options["meta"]
    return event


def _opcodes(response: pb.SDKResponse) -> list[dict[str, Any]]:
    """A 206 body is a list of opcodes, or one."""
    body = json.loads(response.body)
    return body if isinstance(body, list) else [body]


def _step_error(error: Any) -> dict[str, Any]:
    error = error if isinstance(error, dict) else {}
    return {
        "message": str(error.get("message", "")),
        "name": str(error.get("name", "Error")),
        "stack": error.get("stack"),
    }
