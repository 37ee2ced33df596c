"""Each example does what its header says, as the process that its command starts.

``make test-examples`` runs all of them; ``make test`` skips those whose packages are not among the
development requirements.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inngest_connect.testing import EmbeddedGateway
from tests.pages import ROOT

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.integration


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: make test-examples")


class Running:
    """One example. ``printed`` is everything that it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = ""

    async def wait_for(self, pattern: str) -> re.Match[str]:
        """Reads on until the pattern was printed."""
        assert self.process.stdout is not None
        while (match := re.search(pattern, self.printed)) is None:
            line = await asyncio.wait_for(self.process.stdout.readline(), 60)
            assert line, f"ended without {pattern!r}:\n{self.printed}"
            self.printed += line.decode()
        return match

    async def ended(self) -> int:
        """Reads the rest; returns the exit code."""
        rest, _ = await asyncio.wait_for(self.process.communicate(), 60)
        self.printed += rest.decode()
        assert self.process.returncode is not None
        return self.process.returncode


@contextlib.asynccontextmanager
async def started(name: str, *arguments: str, **variables: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / name), *arguments),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # with what it starts: that has the same standard error
    )
    try:
        yield Running(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


@contextlib.asynccontextmanager
async def worker(
    gateway: EmbeddedGateway, name: str, *arguments: str, exit_code: int = 0, **variables: str
) -> AsyncIterator[Running]:
    """A worker that is ready, and ends by SIGTERM after the block."""
    async with started(name, *arguments, INNGEST_DEV=gateway.api_origin, **variables) as running:
        await asyncio.wait_for(gateway.wait_for_worker(), 60)
        yield running
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == exit_code, running.printed


def fetch(url: str, method: str = "GET") -> str:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(
    ("name", "function", "data", "output"),
    [
        ("quickstart.py", "quickstart-greet", {"name": "Ada"}, "Hello, Ada"),
        ("threads.py", "threads-report", {"customer": "Ada"}, "Ada has ordered for 42"),
    ],
)
async def test_a_function_is_invoked(
    name: str, function: str, data: dict[str, str], output: str
) -> None:
    async with EmbeddedGateway() as gateway, worker(gateway, name):
        result = await gateway.invoke(function, {"data": data})

    assert (result.status, result.output) == ("completed", output)


async def test_pictures_are_drawn_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    async with EmbeddedGateway() as gateway, worker(gateway, "thumbnails.py") as running:
        result = await gateway.invoke("pictures-thumbnail", {"data": {"path": str(path)}})

    assert (result.output["width"], result.output["height"]) == (120, 90)
    assert f"this is process {running.process.pid}\n" in running.printed
    assert result.output["pid"] != running.process.pid
    picture = path.read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x78\0\0\0\x5a\x08\0")
    assert picture.endswith(b"IEND\xaeB`\x82")


async def test_a_retry_strategy_decides_about_the_delays() -> None:
    async with EmbeddedGateway() as gateway, worker(gateway, "retry_strategy.py") as running:
        gateway.http.simulate_server_error(times=2)
        gateway.gateways[0].simulate_connection_drop()
        await running.wait_for(r"connected again after \d+\.\d\d s")
        result = await gateway.invoke("patient-echo", {"data": {"n": 1}})

    delays = re.findall(r"after \d+ failures: waiting (\d+\.\d\d) s", running.printed)
    assert len(delays) == 3
    assert all(float(delay) <= 0.5 * 2**3 for delay in delays)
    assert result.output == {"n": 1}


async def test_metrics_are_served_and_spans_are_printed() -> None:
    async with (
        EmbeddedGateway() as gateway,
        worker(gateway, "telemetry.py", METRICS_ADDRESS="127.0.0.1:0") as run,
    ):
        url = (await run.wait_for(r"metrics: (http://\S+)"))[1]
        await gateway.invoke("telemetry-charge", {"data": {"amount": 42}})
        metrics = await asyncio.to_thread(fetch, url)

    labels = '{function="telemetry-charge",status="DONE"}'
    assert f"inngest_connect_requests_completed_total{labels} 1.0\n" in metrics
    spans = [json.loads(span) for span in re.findall(r"^\{$.*?^\}$", run.printed, re.M | re.S)]
    inner, outer = spans
    assert (inner["name"], inner["attributes"]) == ("ask the bank", {"amount": "42"})
    assert outer["name"] == "process telemetry-charge"
    assert inner["parent_id"] == outer["context"]["span_id"]


async def test_a_drain_does_not_disturb_a_job() -> None:
    async with started("drain.py") as running:
        code = await running.ended()

    assert code == 0, running.printed
    said = [line.partition(" s  ")[2] for line in running.printed.splitlines()]
    assert said[-5:-3] == [
        "job: part 8 of 8",
        "gateway: the run is completed, with the output 'encoded'",
    ], running.printed
    assert said.index("worker: gateway-0 is draining") < said.index(
        "worker: connected to gateway-1"
    )
    assert said.index("worker: connected to gateway-1") < said.index("job: part 8 of 8")
    assert "worker: its states were ACTIVE, CLOSING, CLOSED, without a trace of the drain" in said
    assert said[-1].endswith("1 attempt, 0 lost, 0 executed twice"), running.printed


async def test_a_crash_loses_nothing() -> None:
    async with started("crash_recovery.py") as running:
        code = await running.ended()

    assert code == 0, running.printed
    said = [line.partition(" s  ")[2] for line in running.printed.splitlines()]
    assert "shop-report  no reply yet" in running.printed
    assert "shop-charge  a reply of" in running.printed
    assert said[-4:-2] == [
        "shop-charge: completed, '42 paid', attempts: 1",
        "shop-report: completed, 'a long table', attempts: 2",
    ], running.printed
    took = re.search(r"report began again (\d+\.\d) s after the start of the second", said[-2])
    assert took is not None
    assert float(took[1]) < 60  # and not the 120 of the lease
    assert said[-1] == "3 of 3 requests answered, 0 lost"
    assert sum(line.endswith(": recovered: 1 reply, 1 request") for line in said) == 1


@needs("fastapi")
async def test_a_web_application_sends_events_to_its_worker() -> None:
    # uvicorn ends by the signal that ended it.
    code = -signal.SIGTERM
    ran = asyncio.Event()
    async with (
        EmbeddedGateway(on_run=lambda _: ran.set()) as gateway,
        worker(gateway, "web_app.py", exit_code=code, PORT="0") as running,
    ):
        url = (await running.wait_for(r"running on (http://\S+)"))[1]
        answer = await asyncio.to_thread(fetch, f"{url}/orders/7", "POST")
        ready = await asyncio.to_thread(fetch, f"{url}/worker/readyz")
        await asyncio.wait_for(ran.wait(), 60)

    assert (json.loads(answer), ready.strip()) == ({"order": 7}, "ok")
    assert "INFO:root:order 7 is confirmed\n" in running.printed
    assert "previous=CLOSING state=CLOSED" in running.printed


@needs("django")
async def test_a_management_command_runs_functions_that_use_the_orm(tmp_path: Path) -> None:
    event = {"data": {"order": 7, "amount": 42}}
    command, database = "django_shop/manage.py", str(tmp_path / "orders.sqlite3")
    async with (
        EmbeddedGateway() as gateway,
        worker(gateway, command, "runconnect", DATABASE=database),
    ):
        first = await gateway.invoke("shop-charge", event)
        again = await gateway.invoke("shop-charge", event)

    assert (first.output, first.steps) == ("1 paid orders", {"save": True, "pay": 1})
    assert (again.output, again.steps) == ("1 paid orders", {"save": False, "pay": 0})


def test_every_example_is_in_the_table() -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((\S+?)\)", table))
    names = {path.name for path in EXAMPLES.iterdir() if not path.name.startswith(("__", "."))}

    assert names - {"README.md"} <= {link.partition("/")[0] for link in linked}
    assert [link for link in linked if not (EXAMPLES / link).exists()] == []
