"""Bugs to be found: each is one mistake that somebody could make in the shells around the core."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from inngest_connect.aio.guarded_block import GuardedBlock
from inngest_connect.aio.hand_over import HandOver
from inngest_connect.aio.io_thread import IoThread
from inngest_connect.aio.loop_watch import LoopWatch
from inngest_connect.connection import WebSocketWorkerConnection
from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.execution.loop_executor import LoopExecutor
from inngest_connect.host import Host
from inngest_connect.observability.announcer import Announcer
from inngest_connect.observability.outlet import Outlet
from inngest_connect.observability.subscriptions import Subscriptions, Where
from inngest_connect.orchestrator import Orchestrator
from inngest_connect.transport.api_client import ApiClient
from inngest_connect.transport.send_queue import SendQueue
from inngest_connect.transport.websocket_manager import WebSocketManager

Bug = Callable[[], Any]


def a_wake_up_is_lost(right: Any) -> Any:
    def drain(self: HandOver[Any]) -> None:
        items, self._wake_up_planned = self._items, True
        for _ in range(len(items)):
            self._receive(items.popleft())
        if self._after is not None:
            self._after()
        self._wake_up_planned = False

    return drain


def what_is_put_wakes_nobody(right: Any) -> Any:
    return HandOver.add


def the_timer_is_not_armed_again(right: Any) -> Any:
    def tick(self: Orchestrator) -> None:
        at = self._timer_at
        right(self)
        self._timer_at = at

    return tick


def an_earlier_deadline_does_not_move_the_timer(right: Any) -> Any:
    def arm(self: Orchestrator) -> None:
        if self._timer is None:
            right(self)

    return arm


def an_acknowledgement_counts_before_it_is_written(right: Any) -> Any:
    def put(self: SendQueue, data: bytes, acknowledges: str | None = None) -> bool:
        if acknowledges is not None:
            self._unwritten.append(acknowledges)
        return bool(right(self, data))

    return put


def queued_counts_as_written(right: Any) -> Any:
    def flush(self: SendQueue) -> list[str]:
        early, self._unwritten = self._unwritten, []
        return [*early, *right(self)]

    return flush


def a_failed_write_counts_as_written(right: Any) -> Any:
    def flush(self: SendQueue) -> list[str]:
        is_closing, self._is_closing = self._is_closing, lambda: False
        written: list[str] = right(self)
        self._is_closing = is_closing
        return written

    return flush


def a_held_acknowledgement_is_forgotten(right: Any) -> Any:
    def drained(self: SendQueue) -> None:
        right(self)

    return drained


def what_waits_is_not_written_when_there_is_room_again(right: Any) -> Any:
    def resume_writing(self: WebSocketManager) -> None:
        self._batch_ended, batch_ended = lambda: None, self._batch_ended
        right(self)
        self._batch_ended = batch_ended

    return resume_writing


def a_close_writes_nothing_before(right: Any) -> Any:
    def close(self: WebSocketManager, code: int, reason: str) -> None:
        with mock.patch.object(self, "flush", return_value=False):
            right(self, code, reason)

    return close


def a_lost_connection_is_not_reported(right: Any) -> Any:
    return lambda self, transport: None


def a_socket_is_not_aborted(right: Any) -> Any:
    def carry_out(self: Orchestrator, command: Any) -> Any:
        if isinstance(command, do.AbortSocket):
            self._sockets.pop(command.generation, None)
            return None
        return right(self, command)

    return carry_out


def functions_are_not_started(right: Any) -> Any:
    def settle(self: Orchestrator) -> None:
        if len(self._sockets) > 1:
            return
        right(self)

    return settle


def a_command_is_carried_out_inside_another(right: Any) -> Any:
    def handle(self: Orchestrator, input: inputs.Input) -> None:
        self._is_driving = False
        right(self, input)

    return handle


def an_undocumented_exception_ends_the_worker(right: Any) -> Any:
    async def post(self: ApiClient, path: str, body: bytes, key: int) -> bytes:
        request = self._http.build_request("POST", self._url + path, content=body)
        request.headers["authorization"] = self._keys[key].bearer() if self._keys else ""
        response = await self._http.send(request)
        return response.content

    return post


def the_key_is_not_switched(right: Any) -> Any:
    return lambda self, request_id, payload, key: right(self, request_id, payload, 0)


def any_success_confirms_a_flush(right: Any) -> Any:
    async def flush(self: ApiClient, request_id: str, payload: bytes, key: int) -> None:
        await self._post("/v0/connect/flush", payload, key)

    return flush


def an_answer_may_trickle(right: Any) -> Any:
    def init(self: ApiClient, *arguments: Any, **options: Any) -> None:
        right(self, *arguments, **options)
        self._timeout = 1e6

    return init


def the_client_stays_open(right: Any) -> Any:
    async def aclose(self: ApiClient) -> None:
        pass

    return aclose


def a_listener_is_called_on_the_io_thread(right: Any) -> Any:
    def listen_on(self: Announcer, loop: Any) -> None:
        receive = partial(self.subscriptions.call, Where.APPLICATION_LOOP)
        self._to_listeners = mock.Mock(waiting=0, put=receive)

    return listen_on


def a_record_is_written_on_the_observing_thread(right: Any) -> Any:
    def put(self: Outlet[Any], item: Any) -> None:
        self._take(item)

    return put


def the_last_events_are_dropped(right: Any) -> Any:
    def close(self: Outlet[Any], last: Any = None) -> Any:
        while not self._queue.empty():
            self._queue.get_nowait()
        return right(self, last)

    return close


def async_listeners_run_on(right: Any) -> Any:
    async def finished(self: Subscriptions) -> None:
        pass

    return finished


def the_thread_is_not_joined(right: Any) -> Any:
    return lambda self: None


def the_loop_is_not_closed(right: Any) -> Any:
    def init(self: IoThread, *arguments: Any) -> None:
        right(self, *arguments)
        self.loop.close = lambda: None  # type: ignore[method-assign]

    return init


def an_input_is_handled_on_the_callers_thread(right: Any) -> Any:
    def post(self: Host, input: inputs.Input) -> None:
        if self._orchestrator is not None:
            self._orchestrator.handle(input)

    return post


def a_cancelled_start_waits(right: Any) -> Any:
    def drop(self: Host, input: inputs.Input) -> None:
        if not isinstance(input, inputs.AbortRequested):
            right(self, input)

    return drop


def an_early_close_is_lost(right: Any) -> Any:
    return lambda self: None


def a_second_close_counts_as_the_first(right: Any) -> Any:
    def request_close(self: WebSocketWorkerConnection) -> None:
        self._close_requests += 1
        if self._close_requests > 1:
            self._post(inputs.CloseRequested(self._has_signals))

    return request_close


def the_block_is_left_early(right: Any) -> Any:
    async def leave(self: GuardedBlock, error: BaseException | None, close: Any) -> None:
        await close()

    return leave


def a_watch_is_not_stopped(right: Any) -> Any:
    return lambda self: None


def a_cancelled_function_never_ends(right: Any) -> Any:
    def ended(self: LoopExecutor, request_id: str, task: Any) -> None:
        if not task.cancelled():
            right(self, request_id, task)

    return ended


def a_burst_starts_in_part(right: Any) -> Any:
    def start_some(self: LoopExecutor) -> None:
        for _ in range(min(len(self._waiting), 1)):
            self._start(self._waiting.popleft())

    return start_some


def functions_outlive_the_worker(right: Any) -> Any:
    async def wait_stopped(self: LoopExecutor, timeout: float) -> None:
        self._release_tasks()

    return wait_stopped


def a_result_is_posted_twice(right: Any) -> Any:
    def ended(self: LoopExecutor, request_id: str, task: Any) -> None:
        entry = self._running[request_id]
        right(self, request_id, task)
        self._running[request_id] = entry
        with contextlib.suppress(Exception):
            right(self, request_id, task)

    return ended


def tasks_are_left_at_the_end(right: Any) -> Any:
    def spawn(self: Orchestrator, work: Any) -> asyncio.Task[None]:
        return self._group.create_task(work)

    return spawn


_REPLACED = (
    (HandOver, "drain", a_wake_up_is_lost),
    (HandOver, "put", what_is_put_wakes_nobody),
    (Orchestrator, "_tick", the_timer_is_not_armed_again),
    (Orchestrator, "_arm_timer", an_earlier_deadline_does_not_move_the_timer),
    (SendQueue, "flush", a_failed_write_counts_as_written),
    (SendQueue, "drained", a_held_acknowledgement_is_forgotten),
    (WebSocketManager, "resume_writing", what_waits_is_not_written_when_there_is_room_again),
    (WebSocketManager, "close", a_close_writes_nothing_before),
    (WebSocketManager, "on_ws_disconnected", a_lost_connection_is_not_reported),
    (Orchestrator, "_carry_out", a_socket_is_not_aborted),
    (Orchestrator, "_settle", functions_are_not_started),
    (Orchestrator, "_handle", a_command_is_carried_out_inside_another),
    (ApiClient, "_post", an_undocumented_exception_ends_the_worker),
    (ApiClient, "flush", the_key_is_not_switched),
    (ApiClient, "flush", any_success_confirms_a_flush),
    (ApiClient, "__init__", an_answer_may_trickle),
    (ApiClient, "aclose", the_client_stays_open),
    (Announcer, "listen_on", a_listener_is_called_on_the_io_thread),
    (Outlet, "put", a_record_is_written_on_the_observing_thread),
    (Outlet, "close", the_last_events_are_dropped),
    (Subscriptions, "finished", async_listeners_run_on),
    (IoThread, "join", the_thread_is_not_joined),
    (IoThread, "__init__", the_loop_is_not_closed),
    (Host, "post", an_input_is_handled_on_the_callers_thread),
    (Host, "post", a_cancelled_start_waits),
    (WebSocketWorkerConnection, "_repeat_close_requests", an_early_close_is_lost),
    (WebSocketWorkerConnection, "_request_close", a_second_close_counts_as_the_first),
    (GuardedBlock, "leave", the_block_is_left_early),
    (LoopWatch, "stop", a_watch_is_not_stopped),
    (LoopExecutor, "_ended", a_cancelled_function_never_ends),
    (LoopExecutor, "_start_some", a_burst_starts_in_part),
    (LoopExecutor, "wait_stopped", functions_outlive_the_worker),
    (LoopExecutor, "_ended", a_result_is_posted_twice),
    (Orchestrator, "_spawn", tasks_are_left_at_the_end),
)


@contextlib.contextmanager
def _acknowledged_when_queued() -> Any:
    right_put, right_flush = SendQueue.put, SendQueue.flush
    with (
        mock.patch.object(
            SendQueue, "put", an_acknowledgement_counts_before_it_is_written(right_put)
        ),
        mock.patch.object(SendQueue, "flush", queued_counts_as_written(right_flush)),
    ):
        yield


def _bug(owner: type, name: str, make: Callable[[Any], Any]) -> Bug:
    return lambda: mock.patch.object(owner, name, make(getattr(owner, name)))


SEEDED_WIRING_BUGS: dict[str, Bug] = {
    make.__name__: _bug(owner, name, make) for owner, name, make in _REPLACED
}
SEEDED_WIRING_BUGS["an_acknowledgement_counts_before_it_is_written"] = _acknowledged_when_queued
