"""A hook of the user that is asked for a value: whatever it does, only its attempt fails."""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from inngest_connect import ConnectionState, ErrorOccurred
from inngest_connect.aio.hook import Hook, HookFailed
from inngest_connect.protocol import connect_pb2 as pb
from tests.errors.faulty import faulty
from tests.field.odd_objects import NoClass, NoName, Text

pytestmark = pytest.mark.field
LIMIT = 15.0
EXTEND = pb.GatewayMessageType.WORKER_REQUEST_EXTEND_LEASE


class CannotBeShown(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raises(error: BaseException) -> Callable[[str], Any]:
    def hook(url: str) -> str:
        raise error

    return hook


def returns(value: Any) -> Callable[[str], Any]:
    return lambda _: value


async def async_none(url: str) -> None:
    return None


async def async_exit(url: str) -> str:
    raise SystemExit(3)


async def async_cancelled(url: str) -> str:
    raise asyncio.CancelledError


BAD: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (raises(KeyError("x")), "raised KeyError"),
    "exits": (raises(SystemExit(3)), "raised SystemExit"),
    "interrupts": (raises(KeyboardInterrupt()), "raised KeyboardInterrupt"),
    "cannot be shown": (raises(CannotBeShown()), "raised CannotBeShown, which cannot be shown"),
    "None": (returns(None), "returned a value of type NoneType"),
    "bytes": (returns(b"ws://x"), "returned a value of type bytes"),
    "scheme": (returns("http://x/"), "'http://x/' is refused: its scheme is not ws:// or wss://"),
    "port": (returns("ws://x:99999/"), "its port is not a number"),
    "empty": (returns(""), "its scheme is not ws:// or wss://"),
    "credentials": (returns("ws://me:hunter22@x/"), "has user information"),
    "credentials and scheme": (returns("http://me:hunter22@x/"), "has user information"),
    "credentials and port": (returns("ws://me:hunter22@x:port/"), "has user information"),
    "async None": (async_none, "returned a value of type NoneType"),
    "async exits": (async_exit, "raised SystemExit"),
    "async cancelled": (async_cancelled, "raised CancelledError"),
    "text with methods": (returns(Text("http://x/")), "'http://x/' is refused: its scheme is not"),
    "no class": (returns(NoClass()), "raised SystemExit"),
    "no name": (returns(NoName()), "value of type NoName"),
    "wrong arity": (lambda: "ws://x", "raised TypeError"),
}


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("name", BAD)
async def test_a_bad_answer_fails_the_attempt_names_the_hook_and_is_retried(
    name: str, isolation: str
) -> None:
    bad, expected = BAD[name]
    calls = 0

    def hook(url: str) -> Any:
        nonlocal calls
        calls += 1
        return bad(url) if calls == 1 else url

    errors: list[ErrorOccurred] = []
    async with faulty() as it:
        worker = it.worker(
            rewrite_gateway_endpoint=hook, isolation=isolation, on={"error": errors.append}
        )
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await worker.close()
        await running

    first = errors[0]
    assert first.kind == "gateway_endpoint_refused"
    assert first.message.startswith("rewrite_gateway_endpoint")
    assert expected in first.message
    assert "hunter22" not in first.message


async def async_rewrite(prefix: str, url: str) -> str:
    await asyncio.sleep(0)
    return url


class CallableObject:
    def __call__(self, url: str) -> str:
        return url


class AsyncCallableObject:
    async def __call__(self, url: str) -> str:
        return url


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize(
    "hook",
    [
        functools.partial(async_rewrite, "x"),
        CallableObject(),
        AsyncCallableObject(),
        AsyncCallableObject().__call__,
        lambda url: async_rewrite("x", url),
    ],
)
async def test_every_form_of_function_is_called(hook: Any, isolation: str) -> None:
    async with faulty() as it:
        worker = it.worker(rewrite_gateway_endpoint=hook, isolation=isolation)
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await worker.close()
        await running


async def test_it_runs_on_a_daemon_thread_of_its_own_and_async_on_the_applications_loop() -> None:
    seen: list[Any] = []

    async def on_the_loop(url: str) -> str:
        seen.append(asyncio.get_running_loop())
        return url

    def hook(url: str) -> Any:
        seen.append(threading.current_thread())
        return on_the_loop(url)

    async with faulty() as it:
        worker = it.worker(rewrite_gateway_endpoint=hook)
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await worker.close()
        await running

    thread, loop = seen
    assert thread.daemon
    assert thread is not threading.main_thread()
    assert thread.name == "inngest-connect-rewrite_gateway_endpoint"
    assert loop is asyncio.get_running_loop()


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_leases_are_extended_and_the_worker_closes_while_the_hook_blocks(
    kind: str, isolation: str
) -> None:
    called, release = threading.Event(), threading.Event()
    first = True

    def blocks(url: str) -> Any:
        nonlocal first
        if first:
            first = False
            return url
        called.set()
        if kind == "async":
            return asyncio.sleep(1000)
        release.wait(60)
        return url

    async with faulty() as it:
        worker = it.worker(rewrite_gateway_endpoint=blocks, isolation=isolation)
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        work = asyncio.create_task(it.gateway.invoke("app-wait"))
        await asyncio.wait_for(it.app.seen.started.wait(), LIMIT)
        await it.gateway.drain()
        await asyncio.wait_for(asyncio.to_thread(called.wait), LIMIT)
        server = it.gateway.gateways[0]
        extended = len(server.get_received_messages(EXTEND))
        await server.wait_for_message(EXTEND, count=extended + 5, timeout=LIMIT)
        it.app.seen.release.set()
        result = await asyncio.wait_for(work, LIMIT)
        await worker.close()
        await asyncio.wait_for(running, LIMIT)
    release.set()

    assert result.output == "released"


async def test_a_hook_that_never_returns_is_given_up_and_costs_one_thread() -> None:
    release = threading.Event()
    calls: list[str] = []

    def blocks(url: str) -> str:
        calls.append(url)
        release.wait(60)
        return "late"

    hook = Hook("the_hook", blocks, asyncio.get_running_loop(), limit=0.05)
    for _ in range(3):
        with pytest.raises(HookFailed, match=r"the_hook did not return within 0\.05 s"):
            await hook.call("url")
    made = len(calls)
    release.set()
    patient = Hook("the_hook", lambda url: url, asyncio.get_running_loop())

    assert made == 1
    assert await patient.call("mine") == "mine"


async def test_an_async_hook_that_never_returns_is_given_up_and_cancelled() -> None:
    cancelled = asyncio.Event()

    async def blocks(url: str) -> str:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()
        return url

    hook = Hook("the_hook", blocks, asyncio.get_running_loop(), limit=0.05)
    with pytest.raises(HookFailed, match=r"did not return within|TimeoutError"):
        await hook.call("url")
    await asyncio.wait_for(cancelled.wait(), LIMIT)


async def test_a_closed_application_loop_is_an_error_that_names_the_hook() -> None:
    loop = asyncio.new_event_loop()
    loop.close()

    async def never(url: str) -> str:
        return url

    with pytest.raises(HookFailed, match="the_hook raised RuntimeError: Event loop is closed"):
        await Hook("the_hook", never, loop).call("url")
