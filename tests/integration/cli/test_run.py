"""``inngest-connect run`` in real processes, against a gateway on loopback."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from inngest_connect.testing import EmbeddedGateway, GatewayThread
from tests.integration.cli.run_process import (
    MODULE,
    read_until,
    run_process,
    run_to_its_end,
    write_module,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def thread() -> Iterator[GatewayThread]:
    with GatewayThread(drain_window=1.0) as thread:
        yield thread


async def shutdown_begun(gateway: EmbeddedGateway) -> None:
    await gateway.store.until(lambda model: any(c.paused for c in model.connections.values()))


def invoke(thread: GatewayThread, function: str) -> object:
    return thread.call(lambda gateway: gateway.invoke(f"app-{function}")).result(30).output


def test_it_runs_functions_and_closes_cleanly_on_sigterm(
    thread: GatewayThread, tmp_path: Path
) -> None:
    write_module(tmp_path)
    with run_process(tmp_path, thread.api_origin, "worker:apps") as process:
        told = read_until(process, "connected")
        output = invoke(thread, "fn")
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)

    assert output == "first answer"
    assert process.returncode == 0
    for fact in ("starting", "apps=app@", "functions=2", "instance_id=", thread.api_origin):
        assert fact in told[0]
    assert "CLOSED" in rest
    assert "\x1b" not in "".join(told) + rest


def test_the_work_in_flight_is_finished_before_it_ends(
    thread: GatewayThread, tmp_path: Path
) -> None:
    write_module(tmp_path)
    with run_process(tmp_path, thread.api_origin, "worker") as process:
        read_until(process, "connected")
        running = thread.call(lambda gateway: gateway.invoke("app-held"))
        read_until(process, "held")
        process.send_signal(signal.SIGINT)
        read_until(process, "CLOSING")
        (tmp_path / "release").touch()
        output = running.result(30).output
        process.communicate(timeout=30)

    assert (output, process.returncode) == ("finished", 0)


def test_a_second_signal_stops_at_once_and_says_what_is_abandoned(tmp_path: Path) -> None:
    """A function in a thread cannot be stopped, and keeps the process no longer than others."""
    text = MODULE.replace("async def held(ctx: inngest.Context)", "def held(ctx)")
    write_module(tmp_path, text.replace("await asyncio.sleep", "__import__('time').sleep"))
    with (
        GatewayThread(drain_window=1.0) as thread,
        run_process(tmp_path, thread.api_origin, "worker:apps") as process,
    ):
        read_until(process, "connected")
        thread.call(lambda gateway: gateway.invoke("app-held"))
        read_until(process, "held")
        process.send_signal(signal.SIGTERM)
        thread.call(shutdown_begun).result(20)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=30)
        (request_id,) = thread.gateway.ledger.records

    assert process.returncode == 1
    assert "inngest-connect: stopped before 1 request(s) were finished" in told
    assert request_id in told
    assert "Traceback" not in told


def test_an_option_beats_the_code_and_the_code_beats_a_variable(
    thread: GatewayThread, tmp_path: Path
) -> None:
    text = MODULE + (
        "\nfrom inngest_connect import connect\n"
        "made = connect(apps, instance_id='from-code', max_worker_concurrency=3,"
        " shutdown_signals=[])\n"
    )
    write_module(tmp_path, text)
    with run_process(
        tmp_path,
        thread.api_origin,
        "worker:made",
        "--max-concurrency=7",
        "--http=0",
        INNGEST_CONNECT_INSTANCE_ID="from-variable",
        INNGEST_CONNECT_MAX_WORKER_CONCURRENCY="9",
    ) as process:
        line = read_until(process, "serving status")[-1]
        read_until(process, "connected")
        url = line.partition("url=")[2].split()[0]
        state = httpx.get(f"{url}/state.json").json()["state"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

    assert (state["instance_id"], state["max_worker_concurrency"]) == ("from-code", 7)
    assert process.returncode == 0


def test_an_env_file_is_read_first_and_the_real_environment_wins(
    thread: GatewayThread, tmp_path: Path
) -> None:
    write_module(tmp_path, f"import os\nprint('SECOND', os.environ['SECOND'])\n{MODULE}")
    (tmp_path / "my.env").write_text(
        "ANSWER=from the file\nSECOND=file\nINNGEST_CONNECT_LOG_FORMAT=json\n"
    )
    with run_process(
        tmp_path, thread.api_origin, "worker:apps", "--env-file", "my.env", SECOND="real"
    ) as process:
        told = read_until(process, "connected")
        output = invoke(thread, "fn")

    assert output == "from the file"
    assert told[0] == "SECOND real"
    assert json.loads(told[-1])["event"] == "connected"


def test_json_logs_have_one_object_a_line_whoever_wrote_them(
    thread: GatewayThread, tmp_path: Path
) -> None:
    text = MODULE + (
        "\nimport logging, structlog, warnings\n"
        "logging.getLogger('shop').warning('two\\nlines', extra={'order': 7})\n"
        "structlog.get_logger('fancy').info('structured', item='x')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('shop').exception('x')\n"
    )
    write_module(tmp_path, text)
    with run_process(
        tmp_path, thread.api_origin, "worker:apps", "--log-format=json", "--log-level=debug"
    ) as process:
        lines = read_until(process, "connected")
        invoke(thread, "fn")
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)

    records = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    assert all({"timestamp", "level", "event", "logger"} <= record.keys() for record in records)
    by_event = {record["event"]: record for record in records}
    assert by_event["two\nlines"]["order"] == 7
    assert by_event["structured"]["logger"] == "fancy"
    assert "ZeroDivisionError" in by_event["x"]["exception"]
    assert "request_completed" in by_event


def test_child_processes_run_the_functions_behind_one_connection(
    thread: GatewayThread, tmp_path: Path
) -> None:
    text = MODULE.replace('os.environ.get("ANSWER", "first answer")', "str(os.getpid())")
    write_module(tmp_path, text)
    with run_process(tmp_path, thread.api_origin, "worker", "--processes=2") as process:
        told = read_until(process, "] connected")
        output = invoke(thread, "fn")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

    assert "processes=2" in told[0]
    assert str(output).isdigit()
    assert int(str(output)) != process.pid
    assert process.returncode == 0


def test_a_wrong_target_is_two_lines_and_exit_code_2(tmp_path: Path) -> None:
    write_module(tmp_path)

    ended = run_to_its_end(tmp_path, "worker:aps")

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "inngest-connect: 'worker' has no attribute 'aps'",
        "Did you mean 'apps'?",
    ]


def test_a_traceback_is_shown_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f():\n    raise KeyError('k')\nf()\n")

    ended = run_to_its_end(tmp_path, "broken", "--traceback")

    assert "Traceback" in ended.stderr
    assert "broken.py, line 2: raise KeyError('k')" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (["--env-file", "no.env"], {}, "no.env"),
        (["--http", "x:y"], {}, "'x:y'"),
        (["--processes", "0"], {}, "processes is 0"),
        ([], {"INNGEST_CONNECT_SHUTDOWN_TIMEOUT": "soon"}, "'soon'"),
        ([], {"INNGEST_CONNECT_STARTUP_TIMEOUT": "soon"}, "INNGEST_CONNECT_STARTUP_TIMEOUT"),
    ],
    ids=["file", "address", "processes", "shutdown", "startup"],
)
def test_wrong_settings_are_exit_code_2_and_name_the_value(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], named: str
) -> None:
    write_module(tmp_path)

    ended = run_to_its_end(tmp_path, "worker:apps", *arguments, **variables)

    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_refused_signing_key_is_exit_code_2_and_not_shown(tmp_path: Path) -> None:
    key = "signkey-prod-" + "ab" * 32
    text = MODULE.replace("is_production=False", f"is_production=True, signing_key='{key}'")
    write_module(tmp_path, text)
    with (
        GatewayThread(signing_keys=["signkey-prod-" + "cd" * 32]) as thread,
        run_process(tmp_path, thread.api_origin, "worker:apps", "--log-level=debug") as process,
    ):
        told, _ = process.communicate(timeout=30)

    assert process.returncode == 2
    assert "INNGEST_SIGNING_KEY" in told
    assert "ab" * 32 not in told


def test_help_teaches_every_option_with_its_variable(tmp_path: Path) -> None:
    shown = run_to_its_end(tmp_path, "--help", COLUMNS="80").stdout

    for option, variable in {
        "--processes": "PROCESSES", "--max-concurrency": "MAX_WORKER_CONCURRENCY",
        "--instance-id": "INSTANCE_ID",
        "--gateway-url": "GATEWAY_URL", "--startup-timeout": "STARTUP_TIMEOUT",
        "--shutdown-timeout": "SHUTDOWN_TIMEOUT",
        "--http": "HTTP", "--log-level": "LOG_LEVEL", "--log-format": "LOG_FORMAT",
        "--env-file": "ENV_FILE", "--reload": "RELOAD", "--live": "LIVE",
        "--uvloop": "UVLOOP", "--traceback": "TRACEBACK",
    }.items():  # fmt: skip
        assert option in shown
        assert f"INNGEST_CONNECT_{variable}]" in shown
    assert "inngest-connect run shop.worker:apps" in shown
    assert "apps = [(client, [greet, charge])]" in shown
    assert "Exit codes: 0" in shown
