"""``inngest-connect gateway`` as a process: what it prints of runs, and what it answers."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import inngest
import pytest

from inngest_connect import connect
from tests.integration.demo_apps import make_client

pytestmark = pytest.mark.integration


class Gateway:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.origin = self._line_with("API ").split()[1].rstrip(",")

    async def line_with(self, text: str) -> str:
        """The next line that has ``text``; functions run meanwhile."""
        return await asyncio.to_thread(self._line_with, text)

    def _line_with(self, text: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if text in line:
                return line.strip()
        raise AssertionError(f"the gateway has ended without {text!r}")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    command = [sys.executable, "-m", "inngest_connect", "gateway", "--port=0", "--gateway-port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Gateway(process)
        finally:
            process.terminate()


async def test_each_run_is_printed_with_its_output_or_its_error(gateway: Gateway) -> None:
    client = make_client(gateway.origin, app_id="shop")

    @client.create_function(fn_id="good", trigger=inngest.TriggerEvent(event="go"), retries=0)
    async def good(ctx: inngest.Context) -> dict[str, str]:
        return {"hello": "Ada"}

    @client.create_function(fn_id="bad", trigger=inngest.TriggerEvent(event="never"), retries=0)
    async def bad(ctx: inngest.Context) -> None:
        raise ValueError("no \x1b[31m such customer")

    async with connect([(client, [good, bad])], wait=True), httpx.AsyncClient() as http:
        assert await gateway.line_with("functions") == "functions: shop-good, shop-bad"
        sent = await http.post(f"{gateway.origin}/e/key", json={"name": "go"})
        assert sent.status_code == 200
        assert await gateway.line_with("event go") == "event go runs shop-good"
        run = await gateway.line_with("run ")
        assert re.fullmatch(r"run \w+ of shop-good completed after 1 request\(s\), \d+ ms", run)
        assert await gateway.line_with("output") == 'output: {"hello": "Ada"}'
        await http.post(f"{gateway.origin}/e/key", json=[{"name": "nobody"}])
        nobody = await gateway.line_with("event nobody")
        assert nobody.endswith("triggers no function of these workers")
        failed = await http.get(f"{gateway.origin}/invoke/shop-bad")
        assert failed.json()["status"] == "failed"
        assert await gateway.line_with("error") == "error: ValueError: no \\x1b[31m such customer"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{'data': {}}", "the body is not JSON"),
        ("[1]", "the event is"),
        ('{"name": "x", "data": 5}', "the data of the event is 5"),
    ],
)
def test_a_wrong_body_is_answered_with_a_sentence(
    gateway: Gateway, body: str, sentence: str
) -> None:
    for path in ("/e/key", "/invoke/shop-good"):
        answer = httpx.post(gateway.origin + path, content=body)

        assert answer.status_code == 400
        assert sentence in answer.json()["error"]


def test_an_event_without_a_name_is_named(gateway: Gateway) -> None:
    answer = httpx.post(f"{gateway.origin}/e/key", content='{"data": {}}')

    assert answer.status_code == 400
    assert "the event has no name" in answer.json()["error"]
