"""A long job, whose lease is extended, while its gateway is replaced.

    pip install "inngest-connect[testing]"
    python examples/drain.py

Needs no server: it starts a gateway with leases of 2 s (Inngest's last 120 s), invokes a job of
8 s, and drains the gateway meanwhile, as a deployment of Inngest does. It ends by itself.
"""

import asyncio
import time

import inngest

from inngest_connect import Connected, Disconnected, Draining, connect
from inngest_connect.testing import EmbeddedGateway

begun = time.monotonic()


def show(text: str) -> None:
    """A line with the time since the start."""
    print(f"{time.monotonic() - begun:5.1f} s  {text}", flush=True)


def show_connected(event: Connected) -> None:
    """For the first connection, and for the second one, which is made beside the first."""
    show(f"worker: connected to {event.gateway_group}")


def show_draining(event: Draining) -> None:
    """The gateway announced that it will close."""
    show(f"worker: {event.gateway_group} is draining")


def show_disconnected(event: Disconnected) -> None:
    """The drained connection ends when the other one serves."""
    show(f"worker: left {event.gateway_group}, as expected: {event.expected}")


async def main() -> None:
    """Runs gateway and worker on one event loop; the connection has its own thread."""
    async with EmbeddedGateway(lease=2.0, extend_lease_interval="500ms") as gateway:
        client = gateway.client("video")

        @client.create_function(fn_id="encode", trigger=inngest.TriggerEvent(event="video/added"))
        async def encode(ctx: inngest.Context) -> str:
            for part in range(1, 9):
                await asyncio.sleep(1)
                show(f"job: part {part} of 8")
            return "encoded"

        states: list[str] = []
        worker = connect(
            [(client, [encode])],
            wait=True,
            on={
                "connected": show_connected,
                "draining": show_draining,
                "disconnected": show_disconnected,
                "state_change": lambda event: states.append(event.state.value),
            },
        )
        gateway.ledger.watch(worker)  # counts what a server cannot see: executions
        async with worker:
            running = asyncio.create_task(gateway.invoke(encode))
            await asyncio.sleep(2.5)
            show("gateway: begins to drain")
            await gateway.drain()
            result = await running
            show(f"gateway: the run is {result.status}, with the output {result.output!r}")

        show(f"worker: its states were {', '.join(states)}, without a trace of the drain")
        ledger = gateway.ledger
        (job,) = ledger.records.values()
        show(
            f"ledger: {job.extensions} extensions of the lease, {result.attempts} attempt, "
            f"{ledger.lost} lost, {ledger.duplicates} executed twice"
        )


if __name__ == "__main__":
    asyncio.run(main())
