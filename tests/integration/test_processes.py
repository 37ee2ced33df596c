"""Real processes and real signals: the demo, and workers that are stopped."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest

import inngest_connect
from inngest_connect.testing import EmbeddedGateway, GatewayThread, RunResult

pytestmark = pytest.mark.integration
SOURCE = str(Path(inngest_connect.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCE, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}

WORKER = """
import asyncio, logging, sys, inngest
from inngest_connect import connect

client = inngest.Inngest(app_id="app", api_base_url=sys.argv[1], is_production=False)

@client.create_function(fn_id="slow", trigger=inngest.TriggerEvent(event="x"), retries=0)
async def slow(ctx: inngest.Context) -> str:
    print("started", flush=True)
    await asyncio.sleep(float(str(ctx.event.data["seconds"])))
    return "finished"

logging.basicConfig(level=logging.WARNING)
print("running", flush=True)
connect([(client, [slow])]).run()
print("closed", flush=True)
"""


@contextlib.contextmanager
def worker_process(api_origin: str, code: str = WORKER) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), api_origin],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def paused(gateway: EmbeddedGateway) -> None:
    """Wait until the worker has begun its shutdown."""
    await gateway.store.until(lambda model: any(c.paused for c in model.connections.values()))


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def slow_function(
    thread: GatewayThread, process: "subprocess.Popen[str]", seconds: float
) -> "Future[RunResult]":
    """Have the worker's function started; returns its run."""
    assert line(process) == "running"
    thread.call(lambda gateway: gateway.wait_for_worker()).result(20)
    event = {"data": {"seconds": seconds}}
    running = thread.call(lambda gateway: gateway.invoke("app-slow", event))
    assert line(process) == "started"
    return running


@pytest.mark.scenario("44")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_finishes_what_is_in_flight(number: signal.Signals) -> None:
    with GatewayThread() as thread, worker_process(thread.api_origin) as process:
        running = slow_function(thread, process, seconds=0.5)
        process.send_signal(number)
        result = running.result(20)
        assert line(process) == "closed"
        code = process.wait(20)

    assert result.output == "finished"
    assert code == 0


@pytest.mark.scenario("T")
def test_the_second_signal_stops_now_and_names_what_is_abandoned() -> None:
    with GatewayThread(drain_window=1.0) as thread, worker_process(thread.api_origin) as process:
        slow_function(thread, process, seconds=3600)
        process.send_signal(signal.SIGTERM)
        thread.call(paused).result(20)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        (request_id,) = thread.gateway.ledger.records

    assert process.returncode != 0
    assert request_id in errors
    assert "WorkAbandoned" in errors


def test_a_thread_cannot_keep_a_process_alive_after_a_second_signal() -> None:
    """A function in a thread cannot be cancelled."""
    code = WORKER.replace("async def slow(ctx: inngest.Context)", "def slow(ctx)").replace(
        "await asyncio.sleep", "__import__('time').sleep"
    )
    with GatewayThread() as thread, worker_process(thread.api_origin, code) as process:
        slow_function(thread, process, seconds=3600)
        process.send_signal(signal.SIGTERM)
        thread.call(paused).result(20)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "WorkAbandoned" in errors


@pytest.mark.scenario("T")
def test_a_signal_while_waiting_to_retry_ends_immediately() -> None:
    """The signal arrives during back-off: nothing listens at that address."""
    with worker_process("http://127.0.0.1:1") as process:
        assert line(process) == "running"
        assert process.stderr is not None
        assert "reconnecting" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert line(process) == "closed"
        assert process.wait(20) == 0


def demo(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "inngest_connect.cli", "demo", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


Demo = tuple[int, str, str]
"""Exit code, standard output and standard error."""


@pytest.fixture(scope="module")
def demos() -> tuple[Demo, Demo]:
    """For programs and for people, side by side since each takes ten seconds."""
    processes = (
        demo("--seconds", "2", "--rate", "40", "--seed", "7", "--json"),
        demo("--seconds", "1"),
    )
    texts = [process.communicate(timeout=80) for process in processes]
    codes = [process.returncode for process in processes]
    return (codes[0], *texts[0]), (codes[1], *texts[1])


def test_the_demo_ends_by_itself_and_has_lost_nothing(demos: tuple[Demo, Demo]) -> None:
    code, output, progress = demos[0]

    assert (code, progress) == (0, "")
    summary = json.loads(output)
    assert list(summary) == [
        "executed", "completed", "failed_as_intended", "lost", "duplicates", "p50_ms", "p99_ms",
        "states",
    ]  # fmt: skip
    assert (summary["lost"], summary["duplicates"]) == (0, 0)
    assert summary["completed"] == 2 * 40 + 1, "of two seconds, and one while it closes"
    assert summary["executed"] > summary["completed"]
    assert summary["failed_as_intended"] >= 1
    assert summary["states"] == [
        "CONNECTING", "ACTIVE", "DRAINING_RECONNECTING", "ACTIVE", "CLOSING", "CLOSED",
    ]  # fmt: skip


def test_the_demo_tells_people_what_happened(demos: tuple[Demo, Demo]) -> None:
    code, output, progress = demos[1]

    assert code == 0
    assert "in flight" in progress
    assert "\x1b" not in progress
    lines = output.splitlines()
    assert "requests were executed: 0 lost, 0 executed twice. All is well." in lines[0]
    assert lines[1].startswith("21 runs returned what they should")
    assert lines[2].startswith("From dispatch to stored reply: half within ")
    assert lines[3].startswith("The worker was CONNECTING, ACTIVE, DRAINING_RECONNECTING")


def test_ctrl_c_ends_the_demo_gracefully_with_its_summary() -> None:
    process = demo("--seconds", "3600")
    assert process.stderr is not None
    while "worker is ACTIVE" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    output, progress = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "0 lost, 0 executed twice" in output
    assert "interrupted" in progress
    assert "Traceback" not in progress


def test_the_command_line_teaches() -> None:
    run = [sys.executable, "-m", "inngest_connect.cli"]
    shown = subprocess.run(
        [*run, "demo", "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    version = subprocess.run(
        [*run, "--version"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )

    for option in ("--seconds", "--rate", "--seed", "--json"):
        assert option in shown.stdout
    assert version.stdout.startswith("inngest-connect ") or "PackageNotFound" in version.stderr


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['typer'] = None; "
        "import inngest_connect.cli; inngest_connect.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert 'pip install "inngest-connect[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_whose_event_loop_is_closed_shuts_down_and_reports_it() -> None:
    """The application's event loop is closed."""
    code = """
        import asyncio, logging, sys, inngest
        from inngest_connect import ConnectionState, Timing, connect

        logging.basicConfig(level=logging.WARNING)
        logging.getLogger("asyncio").disabled = True
        client = inngest.Inngest(app_id="app", api_base_url=sys.argv[1], is_production=False)

        @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
        async def fn(ctx: inngest.Context) -> None: ...

        loop = asyncio.new_event_loop()
        worker = connect([(client, [fn])], shutdown_signals=[])
        task = loop.create_task(worker.start())
        loop.run_until_complete(worker.wait_for_state(ConnectionState.ACTIVE))
        loop.close()
        asyncio.run(asyncio.wait_for(worker.closed(), 20))
        print(worker.state.value, worker.get_debug_state().shutdown_requested)
    """
    with GatewayThread(heartbeat_interval="100ms") as thread:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), thread.api_origin],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.stdout.strip() == "CLOSED True", done.stderr
    assert "shutdown_forced" in done.stderr or "error" in done.stderr


@contextlib.contextmanager
def gateway_command(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "inngest_connect.cli", "gateway", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"the process ended without saying {text!r}")


def test_the_gateway_command_serves_a_worker_in_another_process() -> None:
    with gateway_command("--port", "0", "--gateway-port", "0") as gateway:
        origin = read_until(gateway, "API ").split()[1].rstrip(",")
        with worker_process(origin) as worker:
            read_until(gateway, "worker ready")
            invoked = httpx.post(f"{origin}/invoke/app-slow", json={"data": {"seconds": 0}})
            unknown = httpx.post(f"{origin}/invoke/app-none")
            sent = httpx.post(f"{origin}/e/key", json={"name": "x", "data": {"seconds": 0}})
            texts = [read_until(gateway, "run ") for _ in range(2)]
            worker.send_signal(signal.SIGTERM)
            read_until(gateway, "worker ended")
        gateway.send_signal(signal.SIGINT)
        last = read_until(gateway, "lost 0")
        code = gateway.wait(10)

    assert invoked.json()["output"] == "finished"
    assert unknown.status_code == 400
    assert "app-slow" in unknown.json()["error"]
    assert len(sent.json()["ids"]) == 1
    assert all("completed after 1 request(s)" in line for line in texts)
    assert (last, code) == ("requests 2, answered 2, lost 0\n", 0)


@pytest.mark.parametrize("option", ["--port", "--gateway-port"])
def test_a_port_that_is_taken_is_a_clear_error(option: str) -> None:
    other = "--gateway-port" if option == "--port" else "--port"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with gateway_command(option, port, other, "0") as gateway:
            _, errors = gateway.communicate(timeout=20)

    assert gateway.returncode == 1
    assert "cannot listen on port" in errors
    assert port in errors
    assert "Traceback" not in errors
