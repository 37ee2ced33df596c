"""The measured worker process: ``worker.py PEER ORIGIN [CONNECTIONS]``. Ends when stdin does.

Peers: ``ours`` (``connect(...).run()``, as a separate program would), ``embedded`` (``start()``
on an event loop, as in the official SDK's examples), ``none`` (the same with ``isolation="none"``),
``limited`` (ours, one function at a time), ``children`` (ours, with so many child processes),
``official``, and ``bare``: the least that can answer a gateway, without leases, buffer or
reconnects. The variants of ``prices.py`` are ours with something more. ``sdk`` has the functions
and nothing else.
``handler`` calls the SDK's function handler alone, without any network: for each line
``SLUG CALLS IN_FLIGHT BYTES`` on stdin it prints the processor time of one call, the floor below
which no worker can get. ``plain-handler`` does so without the fast path.
"""

import asyncio
import gc
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
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

    @client.create_function(fn_id="work1", trigger=trigger, retries=0)
    async def work1(ctx: inngest.Context) -> str:
        return compute(0.001)

    @client.create_function(fn_id="work20", trigger=trigger, retries=0)
    async def work20(ctx: inngest.Context) -> str:
        return compute(0.020)

    return client, [async_function, sync_function, steps, wait, work1, work20]


def compute(seconds: float) -> str:
    """Takes so much processor time of this thread, whatever else the machine does."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return "done"


def apps() -> list[Any]:
    """For child processes, which import this module."""
    return [make_app(os.environ["BENCH_ORIGIN"])]


def run_ours(origin: str, loop_factory: Any = None, **options: Any) -> None:
    from inngest_connect import connect

    worker = connect([make_app(origin)], shutdown_timeout=0.0, **options)
    stop_with_stdin()
    worker.run(loop_factory=loop_factory)


def stop_with_stdin() -> None:
    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def run_children(origin: str, count: int) -> None:
    from inngest_connect import process_executor

    os.environ["BENCH_ORIGIN"] = origin
    run_ours(origin, executor=process_executor("worker:apps", count))


def run_variant(name: str, origin: str) -> None:
    """Ours with one thing more, or with everything."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"logger": False}
        if name in ("logger", "debug", "all"):
            options["logger"] = json_logger("DEBUG" if name == "debug" else "INFO")
        if name in ("metrics", "all"):
            options["meter_provider"] = meter_provider()
        if name in ("spans", "all"):
            options["tracer_provider"] = tracer_provider()
        if name in ("journal", "required", "all"):
            options["journal"] = Path(folder) / "journal.sqlite3"
        if name == "required":
            options["journal_commit"] = "required"
        if name in ("page", "all"):
            run_with_page(origin, options)
        if name == "plain":
            os.environ["INNGEST_CONNECT_FAST_PATH"] = "0"
        if name == "unfrozen":
            gc.freeze = lambda: None
        if name == "threshold":
            gc.set_threshold(20_000, 50, 100)
        loop_factory: Any = None
        if name.startswith("uvloop"):
            import uvloop

            loop_factory = uvloop.new_event_loop if name == "uvloop" else None
            if name == "uvloop-io":
                from inngest_connect.aio import io_thread

                io_thread.asyncio.new_event_loop = uvloop.new_event_loop  # type: ignore[attr-defined]
                loop_factory = asyncio.SelectorEventLoop
        run_ours(origin, loop_factory, **options)


def run_with_page(origin: str, options: dict[str, Any]) -> None:
    from inngest_connect import connect
    from inngest_connect.status import StatusServer

    worker = connect([make_app(origin)], shutdown_timeout=0.0, **options)
    sys.stdout.write(StatusServer(worker, "127.0.0.1:0").start() + "\n")
    sys.stdout.flush()
    stop_with_stdin()
    worker.run()


def json_logger(level: str) -> Any:
    import logging

    class Json(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps(vars(record), default=str)

    handler = logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115 - until the end
    handler.setFormatter(Json())
    logger = logging.Logger("bench", level)
    logger.addHandler(handler)
    return logger


def meter_provider() -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return MeterProvider([InMemoryMetricReader()])


def tracer_provider() -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


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
    if peer in ("handler", "plain-handler"):
        os.environ["INNGEST_CONNECT_FAST_PATH"] = "1" if peer == "handler" else "0"
        asyncio.run(run_handler())
    elif peer == "ours":
        run_ours(rest[0])
    elif peer == "limited":
        run_ours(rest[0], max_worker_concurrency=1)
    elif peer == "children":
        run_children(rest[0], int(rest[1]))
    elif peer == "sdk":
        run_sdk()
    elif peer == "bare":
        asyncio.run(run_bare(rest[0]))
    elif peer == "official":
        asyncio.run(run_official(rest[0]))
    elif peer not in ("none", "embedded"):
        run_variant(peer, rest[0])
    else:
        isolation = "none" if peer == "none" else "thread"
        asyncio.run(run_embedded(rest[0], int(rest[1]) if len(rest) > 1 else 1, isolation))


if __name__ == "__main__":
    main()
