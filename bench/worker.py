"""The measured worker process: ``worker.py PEER ORIGIN [CONNECTIONS]``. Ends when stdin does.

Peers: ``ours`` (``connect(...).run()``, as a separate program would), ``embedded`` (``start()``
on an event loop, as in the official SDK's examples), ``none`` (the same with ``isolation="none"``),
``limited`` (ours, one function at a time), ``official``, and ``bare``: the least that can answer a
gateway, without leases, buffer or reconnects. ``sdk`` has the functions and nothing else.
``handler`` calls the SDK's function handler alone, without any network: for each line
``SLUG CALLS IN_FLIGHT BYTES`` on stdin it prints the processor time of one call, the floor below
which no worker can get.
"""

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any

import inngest


def make_app(origin: str) -> tuple[inngest.Inngest, list[inngest.Function[Any]]]:
    client = inngest.Inngest(
        app_id="bench", api_base_url=origin, event_api_base_url=origin, is_production=False
    )
    trigger = inngest.TriggerEvent(event="bench")

    @client.create_function(fn_id="async", trigger=trigger, retries=0)
    async def async_function(ctx: inngest.Context) -> Any:
        return ctx.event.data["x"]

    @client.create_function(fn_id="sync", trigger=trigger, retries=0)
    def sync_function(ctx: inngest.ContextSync) -> Any:
        return ctx.event.data["x"]

    @client.create_function(fn_id="steps", trigger=trigger, retries=0)
    async def steps(ctx: inngest.Context) -> Any:
        async def step() -> int:
            return 1

        for name in ("one", "two", "three"):
            await ctx.step.run(name, step)
        return ctx.event.data["x"]

    @client.create_function(fn_id="wait", trigger=trigger, retries=0)
    async def wait(ctx: inngest.Context) -> str:
        await asyncio.Event().wait()
        return "done"

    return client, [async_function, sync_function, steps, wait]


def run_ours(origin: str, limit: int | None) -> None:
    from inngest_connect import connect

    worker = connect([make_app(origin)], shutdown_timeout=0.0, max_worker_concurrency=limit)

    def stop_with_stdin() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=stop_with_stdin, daemon=True).start()
    worker.run()


async def run_embedded(origin: str, connections: int, isolation: Any) -> None:
    from inngest_connect import connect

    app = make_app(origin)
    await run_until_stdin_ends(
        [
            connect(
                [app],
                instance_id=f"bench-{n}",
                isolation=isolation,
                shutdown_signals=[],
                shutdown_timeout=0.0,
            )
            for n in range(connections)
        ]
    )


async def run_official(origin: str) -> None:
    from inngest.connect import connect

    await run_until_stdin_ends([connect([make_app(origin)], shutdown_signals=[])])


async def run_bare(origin: str) -> None:
    """The least that can call a function for a gateway: without leases, buffer or reconnects."""
    import httpx
    import picows

    from inngest_connect.core.wire import messages
    from inngest_connect.protocol import SUBPROTOCOL
    from inngest_connect.protocol import connect_pb2 as pb
    from inngest_connect.sdk.adapter import SdkApp

    app = SdkApp(*make_app(origin))
    tasks: set[asyncio.Task[None]] = set()

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            message = pb.ConnectMessage.FromString(frame.get_payload_as_bytes())
            if message.kind == pb.GatewayMessageType.GATEWAY_HELLO:
                kind = pb.GatewayMessageType.WORKER_CONNECT
                transport.send(picows.WSMsgType.BINARY, messages.envelope(kind))
            elif message.kind == pb.GatewayMessageType.GATEWAY_EXECUTOR_REQUEST:
                request = pb.GatewayExecutorRequestData.FromString(message.payload)
                transport.send(picows.WSMsgType.BINARY, messages.request_ack(request))
                task = asyncio.create_task(run(transport, request))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def run(transport: picows.WSTransport, request: Any) -> None:
        payload = messages.reply_payload(request, await app.run(request))
        transport.send(picows.WSMsgType.BINARY, messages.reply(payload))

    async with httpx.AsyncClient() as http:
        answer = (await http.post(f"{origin}/v0/connect/start")).content
    await picows.ws_connect(
        Listener,
        pb.StartResponse.FromString(answer).gateway_endpoint,
        extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
        max_frame_size=64 * 1024 * 1024,
    )
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


async def run_until_stdin_ends(workers: list[Any]) -> None:
    tasks = [asyncio.create_task(worker.start()) for worker in workers]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    os._exit(0)  # without waiting for the official worker's threads


def run_sdk() -> None:
    app = make_app("http://127.0.0.1:1")
    sys.stdout.write(f"{len(app[1])} functions\n")
    sys.stdout.flush()
    sys.stdin.read()


async def run_handler() -> None:
    from inngest_connect.sdk.adapter import SdkApp
    from inngest_connect.testing import executor_request

    client, functions = make_app("http://127.0.0.1:1")
    app = SdkApp(client, functions)
    for line in sys.stdin:
        slug, calls, in_flight, size = line.split()
        event = {"name": "bench", "data": {"x": "x" * int(size)}}
        request = executor_request("bench", slug, event, request_id="r" * 26)

        async def user(count: int, request: Any = request) -> None:
            for _ in range(count):
                await app.run(request)

        await user(20)
        begun = time.process_time()
        each = max(int(calls) // int(in_flight), 1)
        await asyncio.gather(*(user(each) for _ in range(int(in_flight))))
        seconds = (time.process_time() - begun) / (each * int(in_flight))
        sys.stdout.write(json.dumps({"microseconds": seconds * 1e6}) + "\n")
        sys.stdout.flush()


def main() -> None:
    peer, *rest = sys.argv[1:]
    if peer == "handler":
        asyncio.run(run_handler())
    elif peer == "ours":
        run_ours(rest[0], None)
    elif peer == "limited":
        run_ours(rest[0], 1)
    elif peer == "sdk":
        run_sdk()
    elif peer == "bare":
        asyncio.run(run_bare(rest[0]))
    elif peer == "official":
        asyncio.run(run_official(rest[0]))
    else:
        isolation = "none" if peer == "none" else "thread"
        asyncio.run(run_embedded(rest[0], int(rest[1]) if len(rest) > 1 else 1, isolation))


if __name__ == "__main__":
    main()
