"""``doctor`` leaves the server as it was: no app, no function and no worker because of it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import inngest
import pytest
from starlette.responses import Response

from inngest_connect import connect
from inngest_connect.protocol import START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, MockHTTPServer

pytestmark = pytest.mark.field
CONNECT = pb.GatewayMessageType.WORKER_CONNECT
KEY = "signkey-prod-" + "0b" * 32

OLD_CHECKOUT = """
import inngest
client = inngest.Inngest(app_id="shop")

@client.create_function(fn_id="old", trigger=inngest.TriggerEvent(event="x"))
async def old(ctx): ...

apps = [(client, [old])]
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(OLD_CHECKOUT)
    return tmp_path


async def doctor(checkout: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout), **variables}
    command = [sys.executable, "-m", "inngest_connect.cli", "doctor", "--timeout", "5", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, env=env, cwd=checkout, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("shop:apps",), ("shop",), (), ("shop:apps", "--json")])
async def test_the_functions_of_the_live_worker_stay_registered(
    checkout: Path, arguments: tuple[str, ...]
) -> None:
    async with EmbeddedGateway() as gateway:
        client = gateway.client("shop")

        @client.create_function(fn_id="new", trigger=inngest.TriggerEvent(event="x"), retries=0)
        async def new(ctx: inngest.Context) -> str:
            return "new"

        async with connect([(client, [new])], shutdown_signals=[], wait=True):
            code, said = await doctor(checkout, *arguments, INNGEST_DEV=gateway.api_origin)
            synced = gateway.gateways[0].get_received_messages(CONNECT)
            result = await gateway.invoke("shop-new")

    assert code == 0, said
    assert len(synced) == 1, "only the live worker's"
    assert result.output == "new"
    assert "--connect" in said


async def test_the_handshake_is_done_when_it_is_asked_for(checkout: Path) -> None:
    async with EmbeddedGateway() as gateway:
        code, said = await doctor(
            checkout, "shop:apps", "--connect", INNGEST_DEV=gateway.api_origin
        )
        (message,) = gateway.gateways[0].get_received_messages(CONNECT)

    app = pb.WorkerConnectRequestData.FromString(message.payload).apps[0]
    assert code == 0, said
    assert app.app_name == "shop"
    assert "in place of" in said


async def test_the_help_says_what_the_flag_does(checkout: Path) -> None:
    code, said = await doctor(checkout, "--help", COLUMNS="200", NO_COLOR="1")

    assert code == 0
    assert "--connect" in said
    assert "REPLACES" in said


PAGE = b"<html>Blocked by policy</html>"


def form(status: int) -> bytes:
    return json.dumps({"error": "no", "data": None, "status": status}).encode()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("is_api", [True, False])
async def test_a_key_is_blamed_only_when_the_api_itself_refused_it(
    checkout: Path, status: int, is_api: bool
) -> None:
    async with MockHTTPServer() as api:
        body = form(status) if is_api else PAGE
        api._plan(START_PATH, None, Response(body, status))
        code, said = await doctor(
            checkout, "--json",
            INNGEST_API_BASE_URL=api.origin, INNGEST_SIGNING_KEY=KEY,
            INNGEST_SIGNING_KEY_FALLBACK=KEY.replace("0b", "0c"),
        )  # fmt: skip
        calls = len(api.get_request_history(START_PATH))

    check: dict[str, Any] = json.loads(said)["checks"][6]
    remedy = check["problems"][0]["remedy"]
    assert code == 17
    assert ("signing key" in remedy) is is_api
    assert ("firewall" in remedy) is not is_api
    assert calls == (2 if is_api else 1), "both keys are tried only when the first was refused"
