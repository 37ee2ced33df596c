"""Child: what it makes of the frames of its process. The test is that process."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from inngest_connect.core.inputs import ExecutionFinished, FunctionMisbehaved
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.execution.processes import frames
from inngest_connect.execution.processes.child import Child
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
DONE = ExecutionResult(pb.SDKResponseStatus.DONE, b"1")


class Owner:
    def __init__(self) -> None:
        self.posted: list[ExecutionFinished | FunctionMisbehaved] = []

    def child_ready(self, child: Child, functions: dict[str, frozenset[str]]) -> None: ...

    def child_settled(self, child: Child) -> None: ...

    def child_ended(self, child: Child) -> None: ...


class Process:
    """The parent's end, ready, and the socket of the other one."""

    def __init__(self, theirs: socket.socket) -> None:
        self.owner = Owner()
        self.theirs = theirs
        loop, post = asyncio.get_running_loop(), self.owner.posted.append
        self.child = Child({}, 1.0, loop, self.owner, post, lambda _: None)

    def run(self, *request_ids: str) -> None:
        for request_id in request_ids:
            self.child.run(pb.GatewayExecutorRequestData(request_id=request_id))
        self.child.flush()

    def finishes(self, request_id: str, result: ExecutionResult | None) -> None:
        """In the process; this loop has not read it yet."""
        self.theirs.sendall(frames.finished_frame(ExecutionFinished(request_id, result)))

    async def posted(self, count: int) -> dict[str, ExecutionResult | None]:
        async with asyncio.timeout(10):
            while len(self.owner.posted) < count:  # noqa: ASYNC110 - a list is no event
                await asyncio.sleep(0.001)
        finished = [each for each in self.owner.posted if isinstance(each, ExecutionFinished)]
        return {each.request_id: each.result for each in finished}


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    made = Process(theirs)
    child = made.child
    child._socket = ours
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_unix_connection(lambda: child, sock=ours)
    theirs.sendall(frames.ready_frame({}))
    async with asyncio.timeout(10):
        while not child.ready:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    yield made
    theirs.close()
    transport.abort()
    while not child._closed:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)
    for timer in child._timers:
        timer.cancel()


async def test_a_request_that_nobody_asked_to_cancel_is_answered_beside_one_that_was(
    process: Process,
) -> None:
    process.run("asked", "not asked")
    process.child.cancel("asked")
    process.finishes("not asked", None)
    process.finishes("asked", None)

    results = await process.posted(2)

    assert results["asked"] is None
    answer = results["not asked"]
    assert answer is not None
    assert answer.status == pb.SDKResponseStatus.ERROR


@pytest.mark.parametrize("end", [None, DONE], ids=["cancelled", "finished"])
async def test_a_request_that_is_repeated_is_not_taken_for_the_one_that_was_cancelled(
    process: Process, end: ExecutionResult | None
) -> None:
    process.run("r")
    process.child.cancel("r")
    process.finishes("r", end)
    await process.posted(1)
    process.owner.posted.clear()
    process.run("r")
    process.finishes("r", None)

    results = await process.posted(1)

    assert results["r"] is not None


async def test_what_a_process_wrote_counts_when_the_next_write_finds_it_dead(
    process: Process,
) -> None:
    process.run("r1", "r2")
    process.finishes("r1", DONE)
    process.theirs.close()
    process.run("too late")  # which fails before this loop has read the result

    assert await process.posted(1) == {"r1": DONE}
