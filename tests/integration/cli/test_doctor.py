"""The doctor where all is well, and how it tells it: to people, to programs, by its exit code."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inngest_connect.cli.doctor.findings import Mark
from inngest_connect.cli.doctor.run import run_doctor
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import (
    EmbeddedGateway,
    MockHTTPServer,
    MockWebSocketServer,
    executor_request,
)
from tests.integration.cli.examining import FALLBACK_KEY, KEY, diagnose, first_failure, said

K = pb.GatewayMessageType
pytestmark = pytest.mark.integration


def run(**changes: Any) -> int:
    options = {"target": None, "timeout": 30.0, "handshake": True, "json": False, **changes}
    return run_doctor(**options)


@pytest.mark.parametrize("handshake", [True, False])
async def test_a_good_environment_passes_every_check(
    monkeypatch: pytest.MonkeyPatch, handshake: bool
) -> None:
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("INNGEST_DEV", gateway.api_origin)
        results = await diagnose(handshake=handshake)
        kinds = [each.kind for each in gateway.gateways[0].get_received_messages()]
        errors = gateway.store.model.protocol_errors

    skipped = {5} if handshake else {5, 10, 11}
    assert {one.number for one in results if one.mark is Mark.SKIP} == skipped
    assert {one.mark for one in results} == {Mark.OK, Mark.SKIP}
    assert errors == []
    heartbeats = [K.WORKER_HEARTBEAT] * 3
    assert kinds == ([K.WORKER_CONNECT, K.WORKER_PAUSE, *heartbeats] if handshake else [])


async def test_the_doctor_takes_no_work_and_shares_no_instance_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("INNGEST_DEV", gateway.api_origin)
        monkeypatch.setenv("INNGEST_CONNECT_INSTANCE_ID", "worker-1")
        monkeypatch.setenv("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "3")
        # A request for its function waits already when it comes.
        slug = "inngest-connect-doctor-never"
        waiting = asyncio.create_task(
            gateway.store.dispatch(executor_request("inngest-connect-doctor", slug, {}))
        )
        await asyncio.sleep(0)
        assert gateway.ledger.dispatched == 1
        await diagnose()
        waiting.cancel()
        server = gateway.gateways[0]
        connect = pb.WorkerConnectRequestData.FromString(
            server.assert_message_received(K.WORKER_CONNECT).payload
        )
        received = {each.kind for each in server.get_received_messages()}

    assert connect.instance_id.startswith("doctor-")
    assert connect.worker_manual_readiness_ack
    assert not connect.HasField("max_worker_concurrency")
    assert not received & {K.WORKER_READY, K.WORKER_REQUEST_ACK}


async def test_people_get_one_line_a_check_and_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("INNGEST_DEV", gateway.api_origin)
        code = await asyncio.to_thread(run)
    lines = capsys.readouterr().out.splitlines()

    checks = [line for line in lines if line[:4].strip() in {"OK", "SKIP"}]
    assert code == 0
    assert [int(line[5:7]) for line in checks] == list(range(1, 13))
    assert any(f"api_origin = {gateway.api_origin}  (INNGEST_DEV)" in line for line in lines)
    assert "inngest-connect-doctor" in lines[0]
    assert "registers these functions" in lines[1]
    assert lines[2] == "A worker can connect from here."


async def test_the_verdict_comes_first_with_the_reason_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with MockHTTPServer() as api:
        api.simulate_server_error(status=503)
        monkeypatch.setenv("INNGEST_DEV", api.origin)
        await asyncio.to_thread(run)
    lines = capsys.readouterr().out.splitlines()

    assert lines[2] == "A worker cannot work from here: API start failed (exit code 17)."
    assert "HTTP 503" in lines[3]
    assert lines[4].startswith("  remedy: ")
    assert lines[6].startswith("OK    1  configuration")


@pytest.mark.parametrize("variable", ["INNGEST_DEV", "INNGEST_BASE_URL", "INNGEST_API_BASE_URL"])
async def test_the_variable_that_is_set_is_the_one_to_correct(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MockHTTPServer() as api:
        api.simulate_server_error(status=404)
        monkeypatch.setenv("INNGEST_DEV", "1")
        monkeypatch.setenv(variable, api.origin)
        answered = first_failure(await diagnose())
    gone = first_failure(await diagnose())

    assert (answered.name, gone.name) == ("API start", "API address")
    for result in (answered, gone):
        (problem,) = result.finding.problems
        assert variable in problem.remedy
        assert problem.remedy.count("INNGEST_") == 1


async def test_the_port_of_the_gateway_is_not_taken_for_that_of_the_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with EmbeddedGateway() as gateway:
        port = gateway.gateways[0].port
        monkeypatch.setattr("inngest_connect.cli.doctor.api.DEV_GATEWAY_PORT", port)
        monkeypatch.setenv("INNGEST_DEV", f"http://127.0.0.1:{port}")
        result = first_failure(await diagnose())

    assert result.name == "API start"
    assert f"127.0.0.1:{port} is not the API: {port} is the port of the gateway" in said(result)
    assert "Correct INNGEST_DEV: use port 8288" in said(result)


async def test_the_port_of_the_api_is_not_taken_for_that_of_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with EmbeddedGateway() as gateway:
        port = gateway.http.port
        monkeypatch.setattr("inngest_connect.cli.doctor.gateway.DEV_SERVER_PORT", port)
        monkeypatch.setenv("INNGEST_DEV", gateway.api_origin)
        monkeypatch.setenv("INNGEST_CONNECT_GATEWAY_URL", f"ws://127.0.0.1:{port}/v0/connect")
        result = first_failure(await diagnose())

    assert result.name == "WebSocket"
    assert f"ws://127.0.0.1:{port}/v0/connect is no gateway: {port} is the port of the API" in said(
        result
    )
    assert "to ws://127.0.0.1:8289/v0/connect, or unset it" in said(result)


def test_the_variables_can_come_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("INNGEST_DEV=http://127.0.0.1:1\n")
    command = [sys.executable, "-m", "inngest_connect", "doctor", "--env-file", ".env"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 14
    assert "api_origin = http://127.0.0.1:1  (INNGEST_DEV)" in done.stdout


async def test_programs_get_one_document_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with MockHTTPServer() as api:
        api.simulate_server_error(status=503)
        monkeypatch.setenv("INNGEST_DEV", api.origin)
        code = await asyncio.to_thread(run, json=True)
    document = json.loads(capsys.readouterr().out)

    assert code == document["exit_code"] == 17
    assert document["schema"] == 1
    assert document["ok"] is False
    assert document["target"] is None
    assert [one["number"] for one in document["checks"]] == list(range(1, 13))
    start = document["checks"][6]
    assert start["mark"] == "FAIL"
    assert start["data"]["status"] == 503
    assert start["problems"][0]["fatal"] is True
    assert document["checks"][7]["mark"] == "SKIP"


async def test_no_secret_and_no_control_character_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = [
        hashlib.sha256(bytes.fromhex(key.rpartition("-")[2])).hexdigest()
        for key in (KEY, FALLBACK_KEY)
    ]
    async with (
        MockHTTPServer(signing_keys=[KEY]) as api,
        MockWebSocketServer(greet=True) as gateway,
    ):
        api.add_gateway("group\x1b[31m", gateway.url)
        monkeypatch.setenv("INNGEST_API_BASE_URL", api.origin)
        monkeypatch.setenv("INNGEST_SIGNING_KEY", KEY)
        monkeypatch.setenv("INNGEST_SIGNING_KEY_FALLBACK", FALLBACK_KEY)
        monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter22@proxy.invalid:3128")
        written, tokens = "", []
        for turn, as_json in enumerate((False, True), 1):
            running = asyncio.create_task(asyncio.to_thread(run, json=as_json))
            message = await gateway.wait_for_message(K.WORKER_CONNECT, turn)
            connect = pb.WorkerConnectRequestData.FromString(message.payload)
            tokens.append(connect.auth_data.session_token)
            # A gateway that says what must not be repeated.
            gateway.send_sync_failed("refused", f"\x1b[2J{tokens[-1]} {digests[0]} {KEY}")
            assert await running == 20
            written += capsys.readouterr().out

    for secret in (KEY, FALLBACK_KEY, *digests, *tokens, "hunter22", "\x1b"):
        assert secret not in written
    assert "***abab" in written
    assert "key ***cdcd was refused" in written


WORKER = """
import inngest
from inngest_connect import connect

client = inngest.Inngest(app_id="shop", api_base_url={origin!r}, is_production=False)

@client.create_function(fn_id="sell", trigger=inngest.TriggerEvent(event="sold"))
async def sell(ctx: inngest.Context) -> None: ...

worker = connect([(client, [sell])], instance_id="till", shutdown_timeout=7.0)
"""


async def test_a_users_worker_is_examined_with_its_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with EmbeddedGateway() as gateway:
        module = "doctors_patient"
        (tmp_path / f"{module}.py").write_text(WORKER.format(origin=gateway.api_origin))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("INNGEST_DEV", "1")
        code = await asyncio.to_thread(run, target=f"{module}:worker")
        apps = gateway.store.model.apps
    written = capsys.readouterr().out

    assert code == 0
    assert set(apps) == {"shop"}
    assert f"api_origin = {gateway.api_origin}  (option)" in written
    assert "mode = development  (INNGEST_DEV)" in written
    assert "shutdown_timeout = 7.0  (option)" in written


def test_a_worker_that_is_not_there_fails_the_first_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run(target="json:nothing")

    written = capsys.readouterr().out
    assert code == 11
    assert "FAIL  1  configuration     'json' has no attribute 'nothing'" in written
    assert "SKIP 12" in written


async def test_ctrl_c_ends_it_without_a_traceback() -> None:
    """As a process of its own, because a signal belongs to one."""
    async with MockHTTPServer() as api, MockWebSocketServer() as gateway:
        api.add_gateway(gateway.name, gateway.url)
        doctor = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "inngest_connect.cli",
            "doctor",
            "--json",
            "--connect",
            "--timeout=300",  # also where this process gets no time for a while
            env={**os.environ, "INNGEST_DEV": api.origin},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await gateway.wait_for_connection(timeout=60)  # and never says HELLO
        doctor.send_signal(signal.SIGINT)
        out, errors = await doctor.communicate()

    assert doctor.returncode == 130
    assert out == b""
    assert errors.decode() == "inngest-connect doctor: interrupted\n"


async def test_a_check_that_cannot_run_names_what_stands_in_its_way() -> None:
    results = await diagnose()

    blocked = results[6]
    assert blocked.mark is Mark.SKIP
    assert said(blocked) == "cannot run before this is right: signing key"
