"""The user's functions: real Inngest functions that return, raise, block, exit and resist."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import inngest

from inngest_connect.testing.executor_request import executor_request

from ..conduct import SYSTEM_TRACE, USER_TRACE
from ..functions import Functions
from ..invariants import SECRET

if TYPE_CHECKING:
    from .stack import StackSimulation

KEYS: Final = ("signkey-prod-" + "ab" * 32, "signkey-prod-" + "cd" * 32)
API_ORIGIN: Final = "http://api.test"
_TRIGGER: Final = inngest.TriggerEvent(event="called")
_LONGEST_BLOCK: Final = 20.0
_LATE: Final = 3.0
"""Seconds that a function goes on after its cancellation."""

ASYNC_BEHAVIORS: Final = ("return",) * 6 + ("raise", "exit", "cancel late", "cancel itself")
SYNC_BEHAVIORS: Final = ("return",) * 4 + ("raise", "exit")


class Unshowable(BaseException):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class StackFunctions(Functions):
    """Executions by the number in their event; there is one simulation at a time in a process."""

    current: "StackFunctions"

    def __init__(self, sim: "StackSimulation") -> None:
        super().__init__(sim)
        self._stack = sim
        self._requests: list[str] = []
        self.running_async: set[str] = set()
        self.ended: dict[str, float] = {}
        """When each execution of this process has ended."""
        StackFunctions.current = self

    def dispatch(self, duration: float, can_cancel: bool) -> None:
        """See ``Functions.dispatch``."""
        sim = self._stack
        number = len(self._requests)
        behaviors = ASYNC_BEHAVIORS if can_cancel else SYNC_BEHAVIORS
        if can_cancel and sim.program.isolation == "thread":
            behaviors = (*behaviors, "block")
        data = {"number": number, "behavior": sim.draw.choice(behaviors), "duration": duration}
        slug = "app-fn" if can_cancel else "app-sync"
        message = executor_request("app", slug, {"name": "called", "data": data})
        message.system_trace_ctx = SYSTEM_TRACE
        message.user_trace_ctx = USER_TRACE
        self._requests.append("")
        request_id, actions = sim.model.dispatch(message, sim.now)
        self._requests[number] = request_id
        sim.note("executor", f"dispatches {request_id} {data}")
        sim.gateway_does(actions)

    def begin(self, data: Any) -> tuple[str, str, float]:
        """A function has begun: returns its request, its behavior and its seconds."""
        sim = self._stack
        request_id = self._requests[data["number"]]
        sim.checked(sim.function_begins, request_id)
        sim.note("function", f"begins {request_id}")
        end = max(sim.now, min(sim.now + data["duration"], self.end_by))
        return request_id, data["behavior"], end - sim.now

    def finish(self, request_id: str) -> None:
        """A function has ended, in whichever way."""
        self._stack.note("function", f"ends {request_id}")
        self.ended[request_id] = self._stack.now
        self._stack.invariants.ended(request_id)

    def block(self, seconds: float) -> None:
        """Block the thread."""
        seconds = min(seconds, _LONGEST_BLOCK)
        self._stack.program.delayed += seconds
        self._stack.machine.sleep(seconds)

    def sleep_on_pool(self, seconds: float) -> None:
        """Block a thread of the pool, which may take as long as it likes."""
        self._stack.machine.sleep(seconds)


async def _asynchronous(ctx: inngest.Context) -> str:
    functions = StackFunctions.current
    request_id, behavior, seconds = functions.begin(ctx.event.data)
    functions.running_async.add(request_id)
    try:
        match behavior:
            case "block":
                functions.block(seconds)
            case "cancel late":
                try:
                    await asyncio.sleep(seconds)
                except asyncio.CancelledError:
                    await asyncio.sleep(_LATE)
            case _:
                await asyncio.sleep(seconds)
        if behavior == "raise":
            raise Unshowable
        if behavior == "exit":
            raise SystemExit(3)
        if behavior == "cancel itself":
            raise asyncio.CancelledError
    finally:
        functions.running_async.discard(request_id)
        functions.finish(request_id)
    return SECRET * 20


def _synchronous(ctx: inngest.ContextSync) -> str:
    functions = StackFunctions.current
    request_id, behavior, seconds = functions.begin(ctx.event.data)
    try:
        functions.sleep_on_pool(seconds)
        if behavior == "raise":
            raise Unshowable
        if behavior == "exit":
            raise SystemExit(3)
    finally:
        functions.finish(request_id)
    return SECRET * 20


def make_app(keys: int) -> tuple[inngest.Inngest, list[Any]]:
    """Return a client with ``keys`` signing keys, in development mode with none, and functions."""
    client = inngest.Inngest(
        app_id="app",
        is_production=keys > 0,
        signing_key=KEYS[0] if keys else None,
        api_base_url=API_ORIGIN,
        event_api_base_url=API_ORIGIN,
    )
    if keys > 1:
        client._signing_key_fallback = KEYS[1]
    asynchronous = client.create_function(fn_id="fn", trigger=_TRIGGER)(_asynchronous)
    synchronous = client.create_function(fn_id="sync", trigger=_TRIGGER)(_synchronous)
    return client, [asynchronous, synchronous]
