"""An executor that can no longer run functions ends the worker: no deadline is skipped for it."""

import asyncio

import inngest
import pytest

from inngest_connect import connect
from inngest_connect.execution.executor import ExecutorPorts
from inngest_connect.observability.debug_state import ChildProcess
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState
from inngest_connect.testing import QUICK_TIMING, ConnectionTestHarness

pytestmark = pytest.mark.field


class MortalExecutor:
    """Takes requests, and is dead when the test says so."""

    def __init__(self, _: ExecutorPorts) -> None:
        self.dead = False
        self.asked = 0

    async def start(self) -> None:
        pass

    def submit(self, request: pb.GatewayExecutorRequestData) -> None:
        pass

    def flush(self) -> None:
        pass

    def cancel(self, request_id: str) -> None:
        pass

    def failure(self) -> str | None:
        self.asked += self.dead
        return "the functions' loop is closed" if self.dead else None

    def child_processes(self) -> tuple[ChildProcess, ...]:
        return ()

    async def stop(self) -> None:
        pass

    async def wait_stopped(self, timeout: float) -> None:
        pass


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_the_deadlines_of_the_shutdown_pass_while_the_executor_stays_dead(
    isolation: str,
) -> None:
    executors: list[MortalExecutor] = []

    def make(ports: ExecutorPorts) -> MortalExecutor:
        executors.append(MortalExecutor(ports))
        return executors[0]

    async with ConnectionTestHarness(heartbeat_interval="200ms") as harness:
        gateway = harness.gateway
        client = gateway.client("a")

        @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"), retries=0)
        async def f(ctx: inngest.Context) -> None:
            pass

        worker = connect(
            [(client, [f])],
            shutdown_signals=[],
            logger=False,
            timing=QUICK_TIMING,
            isolation=isolation,  # type: ignore[arg-type]
            executor=make,
        )
        running = asyncio.create_task(worker.start())
        await gateway.wait_for_worker()
        # The close frame is not answered: the end waits for a deadline that only a Tick passes.
        harness.proxies[0].black_hole()
        executors[0].dead = True

        await asyncio.wait({running}, timeout=10)

        ended = running.done()
        running.cancel()
        await asyncio.wait({running}, timeout=10)

    assert ended
    assert worker.state is ConnectionState.CLOSED
    assert executors[0].asked < 100, "the worker span"
