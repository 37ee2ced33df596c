"""RunDriver: takes a run from its event to its end, as the executor does.

A function is called again and again with the results of its steps so far, until it returns or fails
permanently. Sleeps are skipped, the test answers waits, and planned steps run in parallel. What the
function has deferred (``ctx.defer`` of inngest 0.5.20 and later) runs after its end.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..protocol import connect_pb2 as pb
from .executor_request import executor_request
from .gateway_store import DispatchFailed
from .locked_tables import explained
from .mocked_steps import MockedSteps, step_name
from .model.ulid import make_ulid

Dispatch = Callable[[pb.GatewayExecutorRequestData], Awaitable[pb.SDKResponse]]
Event = dict[str, Any]
WaitForEvent = Callable[[dict[str, Any]], Event | None]

IDLE_REPLIES: Final = 10
"""A run fails after this many replies in a row that bring nothing new: it would never end."""


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """What WORKER_CONNECT contains about a function."""

    app_name: str
    slug: str
    retries: int
    events: tuple[str, ...] = ()
    """Names of the events that trigger it."""


@dataclass(slots=True)
class RunResult:
    """How a run ended."""

    run_id: str
    function: str
    """The slug, "app-function"."""
    status: Literal["completed", "failed"] = "failed"
    output: Any = None
    """What the function returned, as JSON."""
    error: Any = None
    """An object with "message" and "name", or the text "no response"."""
    steps: dict[str, Any] = field(default_factory=dict)
    """Results by the names of the steps."""
    attempts: int = 0
    """How often the last step or function was tried."""
    requests: int = 0
    """All requests of the run."""
    lost: int = 0
    """Requests that ended without a response."""
    duration: float = 0.0
    """Seconds, without its failure handler and what it deferred."""
    deferred: list["RunResult"] = field(default_factory=list)
    """The runs of what the function has deferred, in their order."""


@dataclass(slots=True)
class _Run:
    info: FunctionInfo
    event: Event
    result: RunResult
    mocks: MockedSteps
    memos: dict[str, Any] = field(default_factory=dict)
    parallel: bool = False
    defers: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """The options of what is deferred, by hashed id; None for what was aborted."""


class RunDriver:
    """Drives any number of runs at the same time."""

    def __init__(
        self,
        dispatch: Dispatch,
        find: Callable[[str], FunctionInfo],
        wait_for_event: WaitForEvent,
        retry_delay: float = 0.0,
    ) -> None:
        """``dispatch`` sends one request and returns its response, or raises DispatchFailed.

        ``find`` returns a function by its slug or raises LookupError. ``wait_for_event`` returns
        the event for the opcode of a wait, or None for a timeout. ``retry_delay`` is in seconds.
        """
        self._dispatch = dispatch
        self._find = find
        self._wait_for_event = wait_for_event
        self._retry_delay = retry_delay

    async def run(
        self, slug: str, event: Event, steps: Mapping[str, Any] | None = None
    ) -> RunResult:
        """Drive a run to its end, with its failure handler and what it deferred.

        ``steps`` are results of its steps by their ids: those steps are not run. Raises LookupError
        for an unknown function, and AssertionError when it completed without one of ``steps``.
        """
        run = self._new_run(self._find(slug), event, steps or {})
        result = run.result
        begun = time.monotonic()
        await self._until_ended(run)
        result.duration = time.monotonic() - begun
        if result.status == "failed":
            await self._on_failure(run)
        for options in run.defers.values():
            if options is not None:
                event = _deferred_event(result, options)
                result.deferred.append(await self.run(options["fn_slug"], event))
        if result.status == "completed":
            run.mocks.check_used(result.steps)
        return result

    def _new_run(self, info: FunctionInfo, event: Event, steps: Mapping[str, Any]) -> _Run:
        result = RunResult(make_ulid(time.time(), secrets.randbits), info.slug)
        mocks = MockedSteps(steps)
        # With ``parallel`` a function names each step before it is run.
        return _Run(info, event, result, mocks, parallel=bool(mocks))

    async def _until_ended(self, run: _Run) -> None:
        attempt = idle = 0
        while True:
            response = await self._call(run, "step", attempt)
            run.result.attempts = attempt + 1
            if response is not None and response.status == pb.SDKResponseStatus.DONE:
                run.result.status = "completed"
                run.result.output = json.loads(response.body)
                return
            if response is None or response.status != pb.SDKResponseStatus.NOT_COMPLETED:
                no_retry = response is not None and response.no_retry
                if no_retry or attempt >= run.info.retries:
                    error = json.loads(response.body) if response is not None else "no response"
                    run.result.error = explained(error)
                    return
                attempt += 1
                await asyncio.sleep(self._retry_delay)
                continue
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

    async def _call(self, run: _Run, step_id: str, attempt: int) -> pb.SDKResponse | None:
        # One request; None when it ended without a response.
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

    async def _on_failure(self, run: _Run) -> None:
        try:
            handler = self._find(f"{run.info.slug}-failure")
        except LookupError:
            return  # most functions have no failure handler
        data = {
            "error": run.result.error,
            "event": run.event,
            "function_id": run.info.slug,
            "run_id": run.result.run_id,
        }
        await self._until_ended(
            self._new_run(handler, {"name": "inngest/function.failed", "data": data}, {})
        )

    # --- steps -------------------------------------------------------------------------------

    async def _steps(
        self, run: _Run, opcodes: list[dict[str, Any]], attempt: int, no_retry: bool
    ) -> bool:
        # Returns whether one of the steps has to be tried again.
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
        if op in run.mocks:
            self._memo(run, op, run.mocks.memo(op))
            return
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
        # Returns whether the step has to be tried again.
        options = op.get("opts") or {}
        match op["op"]:
            case "WaitForEvent" | "InvokeFunction" | "Sleep" | "AIGateway" if op in run.mocks:
                self._memo(run, op, run.mocks.memo(op))
            case "StepError" if not no_retry and attempt < run.info.retries:
                return True
            case "StepError" | "StepFailed":
                self._memo(run, op, {"error": _step_error(op.get("error"))})
            case "WaitForEvent":
                self._memo(run, op, self._wait_for_event(op))
            case "InvokeFunction":
                data = (options.get("payload") or {}).get("data") or {}
                event = {"name": "inngest/function.invoked", "data": data}
                result = await self.run(options["function_id"], event)
                if result.status == "completed":
                    self._memo(run, op, {"data": result.output})
                else:
                    self._memo(run, op, {"error": _step_error(result.error)})
            case "AIGateway":
                name = step_name(op)
                text = f"step.ai.infer({name!r}) calls no provider here: mock it with steps="
                text += f"{{{name!r}: what it answers}}"
                self._memo(run, op, {"error": _step_error({"message": text})})
            case "Sleep":
                self._memo(run, op, None)
            case "DeferAdd":
                run.defers[op["id"]] = options
            case "DeferAbort":
                run.defers[options["target_hashed_id"]] = None
            case "RunComplete":
                run.result.status = "completed"
                run.result.output = op.get("data")
            case _:
                self._memo(run, op, {"data": op.get("data")})
        return False

    def _memo(self, run: _Run, op: dict[str, Any], memo: Any) -> None:
        run.memos[op["id"]] = memo
        run.result.steps[step_name(op)] = memo.get("data", memo) if isinstance(memo, dict) else memo


def _deferred_event(parent: RunResult, options: dict[str, Any]) -> Event:
    routing = {
        "fn_slug": options["fn_slug"],
        "parent_fn_slug": parent.function,
        "parent_run_id": parent.run_id,
    }
    data = {**options.get("input", {}), "_inngest": routing}
    event: Event = {"name": "inngest/deferred.schedule", "data": data, "id": "", "ts": 0}
    return {**event, "meta": options["meta"]} if "meta" in options else event


def _opcodes(response: pb.SDKResponse) -> list[dict[str, Any]]:
    # The body of a NOT_COMPLETED reply is a list of opcodes, or one.
    body = json.loads(response.body)
    return body if isinstance(body, list) else [body]


def _step_error(error: Any) -> dict[str, Any]:
    error = error if isinstance(error, dict) else {}
    return {
        "message": str(error.get("message", "")),
        "name": str(error.get("name", "Error")),
        "stack": error.get("stack"),
    }
