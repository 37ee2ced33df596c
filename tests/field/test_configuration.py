"""A wrong setting is an error at ``connect()`` that names it: no traceback, no endless retries."""

import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import inngest
import pytest

from inngest_connect import (
    ConfigurationError,
    FixedRetry,
    ScheduleRetry,
    Timing,
    connect,
    process_executor,
)
from inngest_connect.cli.doctor.run import run_doctor
from inngest_connect.connection import WebSocketWorkerConnection
from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field
CA = ("SSL_CERT_FILE", "SSL_CERT_DIR")
KEY = "signkey-prod-" + "0a" * 32


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("INNGEST_") or name.lower().endswith("_proxy") or name in CA:
            monkeypatch.delenv(name)


def client(**options: Any) -> inngest.Inngest:
    return inngest.Inngest(**{"app_id": "app", "is_production": False, **options})


def function(app: inngest.Inngest) -> inngest.Function[Any]:
    @app.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"))
    async def f(ctx: inngest.Context) -> None:
        pass

    return f


def worker(app: inngest.Inngest, **options: Any) -> WebSocketWorkerConnection:
    return connect([(app, [function(app)])], logger=False, **options)


def refused(app: inngest.Inngest, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        worker(app, **options)
    return str(caught.value)


UNUSABLE = [
    "http://",
    "http://:8288",
    "http://host:0",
    "http://host:99999",
    "http://host:port",
    "http://ho st:1",
    "http://ho\nst:1",
    "http://h\u00f6st:1",
    "ftp://host:1",
    "httpx://host:1",
    "http://http://host:1",
    '"http://host:1"',
    "http://host:1#here",
]


@pytest.mark.parametrize("url", UNUSABLE)
@pytest.mark.parametrize("variable", ["INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_DEV"])
def test_an_unusable_api_address_of_a_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    # The event API has a separate address, so that the SDK's client can be made at all.
    app = client(event_api_base_url="http://127.0.0.1:1")

    text = refused(app)

    assert variable in text
    assert url in text or repr(url) in text


@pytest.mark.parametrize("url", ["http://host:99999", "http://ho st:1", "httpx://host:1"])
def test_an_unusable_api_address_of_an_option(url: str) -> None:
    text = refused(client(api_base_url=url, event_api_base_url="http://127.0.0.1:1"))

    assert "api_base_url" in text


@pytest.mark.parametrize("around", [" {} ", "{}\n", "\t{}\r\n"])
def test_what_surrounds_a_value_is_stripped(monkeypatch: pytest.MonkeyPatch, around: str) -> None:
    values = {
        "INNGEST_API_BASE_URL": "http://127.0.0.1:8288",
        "INNGEST_ENV": "branch-1",
        "INNGEST_SIGNING_KEY": KEY,
        "INNGEST_SIGNING_KEY_FALLBACK": KEY,
        "INNGEST_CONNECT_INSTANCE_ID": "me",
        "INNGEST_CONNECT_MAX_WORKER_CONCURRENCY": "7",
        "INNGEST_CONNECT_GATEWAY_URL": "ws://gateway:1/x",
        "INNGEST_CONNECT_ISOLATE_EXECUTION": "0",
        "INNGEST_CONNECT_SHUTDOWN_TIMEOUT": "12.5",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, around.format(value))

    settings, identity, options = worker(client(is_production=True)).configuration

    assert settings.api_origin == "http://127.0.0.1:8288"
    assert (settings.env, identity.environment) == ("branch-1", "branch-1")
    assert (settings.signing_key, settings.signing_key_fallback) == (KEY, KEY)
    assert (options.instance_id, options.max_worker_concurrency) == ("me", 7)
    assert (options.gateway_url, options.isolation) == ("ws://gateway:1/x", "none")
    assert options.shutdown_timeout == 12.5


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INNGEST_ENV", "my branch"),
        ("INNGEST_ENV", "br\u00e4nch"),
        ("INNGEST_ENV", "branch\x1b"),
        ("INNGEST_CONNECT_INSTANCE_ID", "my worker"),
        ("INNGEST_CONNECT_INSTANCE_ID", "w\u00f6rker"),
        ("INNGEST_CONNECT_INSTANCE_ID", "worker\udcff"),
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "1 0"),
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "\uff15"),
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "0"),
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "2.5"),
        ("INNGEST_CONNECT_GATEWAY_URL", "ws://gate way:1"),
        ("INNGEST_CONNECT_GATEWAY_URL", "ws://g\u00e4te:1"),
        ("INNGEST_CONNECT_GATEWAY_URL", "http://gateway:1"),
        ("INNGEST_CONNECT_GATEWAY_URL", "ws://gateway:0"),
        ("INNGEST_CONNECT_GATEWAY_URL", "ws://user:pa55w@gateway:1"),
        ("INNGEST_CONNECT_ISOLATE_EXECUTION", "no no"),
        ("INNGEST_CONNECT_SHUTDOWN_TIMEOUT", "30 s"),
        ("INNGEST_CONNECT_SHUTDOWN_TIMEOUT", "\uff13"),
        ("INNGEST_CONNECT_SHUTDOWN_TIMEOUT", "-1"),
        ("INNGEST_CONNECT_SHUTDOWN_TIMEOUT", "nan"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    text = refused(client(api_base_url="http://127.0.0.1:1"))

    assert variable in text
    assert "user:pa55w" not in text


@pytest.mark.parametrize(
    "key",
    [
        "signkey-prod-xyz",
        "signkey-prod-",
        "signkey-prod-0a0",
        "signkey-prod-0a 0a",
        "signkey-prod-0a\n0a",
        "signkey-prod-\uff10\uff11",
        "signkey-pr\u00f6d-0a0a",
        "eventkey-prod-0a0a",
        "'signkey-prod-0a0a'",
        "evt_0a0a0a0a0a0a",
    ],
)
@pytest.mark.parametrize("variable", ["INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK"])
def test_a_wrong_key_is_refused_in_production_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, key: str
) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY", KEY)
    monkeypatch.setenv(variable, key)

    text = refused(client(is_production=True))

    assert f"into {variable}" in text + " "
    assert key not in text


@pytest.mark.parametrize("key", ["local-dev", "signkey-prod-xyz", "\u00fc"])
def test_any_key_will_do_in_development_mode(key: str) -> None:
    made = worker(client(signing_key=key, api_base_url="http://127.0.0.1:1"))

    assert made.api_origin == "http://127.0.0.1:1"


@pytest.mark.parametrize("kind", ["missing", "garbage", "directory"])
@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_certificate_file_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, url: str
) -> None:
    app = client(api_base_url=url)
    path = tmp_path / "ca.pem"
    if kind == "garbage":
        path.write_bytes(b"\x00garbage")
    elif kind == "directory":
        path.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    if url.startswith("https"):
        text = refused(app)
    else:  # which needs none, unless the gateway does
        assert worker(app).api_origin == url
        text = refused(app, gateway_url="wss://gateway:1")

    assert "SSL_CERT_FILE" in text
    assert str(path) in text


def test_a_certificate_directory_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = client(api_base_url="https://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nothing"))

    assert "SSL_CERT_DIR" in refused(app)


@pytest.mark.parametrize(
    "proxy",
    [
        "nonsense://user:pa55w@proxy:1",
        "http://",
        "http://user:pa55w@:3128",
        "http://user:pa55w@proxy:99999",
        "http://user:pa55w@proxy:port",
        "http://user:pa55w@pro xy:1",
        "//user:pa55w@proxy",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"])
def test_a_proxy_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    app = client(api_base_url="https://127.0.0.1:1")
    monkeypatch.setenv(variable, proxy)

    text = refused(app)

    assert variable in text
    assert "pa55w" not in text


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [("HTTPS_PROXY", "nonsense://user:pa55w@proxy:1"), ("SSL_CERT_FILE", "/nothing/here.pem")],
)
async def test_a_variable_that_breaks_before_the_start_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, isolation: str, variable: str, value: str
) -> None:
    made = worker(
        client(api_base_url="https://127.0.0.1:1"), shutdown_signals=[], isolation=isolation
    )
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=variable) as caught:
        await asyncio.wait_for(made.start(), 10)

    assert "pa55w" not in str(caught.value)
    await asyncio.wait_for(made.closed(), 10)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("shutdown_signals", [signal.SIGKILL]),
        ("shutdown_signals", [signal.SIGTERM, signal.SIGSTOP]),
        ("shutdown_signals", [0]),
        ("shutdown_signals", 15),
        ("instance_id", "a\nb"),
        ("instance_id", "\x1b[31m"),
        ("instance_id", "\udcff"),
        ("instance_id", "x" * 300),
        ("max_worker_concurrency", 0),
        ("gateway_url", "ws://user:pa55w@gateway:1"),
        ("gateway_url", b"ws://gateway:1"),
        ("timing", {}),
        ("startup_timeout", True),
        ("shutdown_timeout", float("inf")),
    ],
)
def test_an_option_that_cannot_be_used_is_named(option: str, value: Any) -> None:
    text = refused(client(api_base_url="http://127.0.0.1:1"), **{option: value})

    assert option in text
    assert "pa55w" not in text
    assert text.isprintable()


def test_functions_may_come_from_any_iterable() -> None:
    app = client(api_base_url="http://127.0.0.1:1")
    one = function(app)

    for functions in ([one], (one,), {"f": one}.values(), {one}, (each for each in [one])):
        made = connect([(app, functions)], logger=False)
        assert made.functions == {"app": ("app-f",)}


@pytest.mark.parametrize("functions", ["app-f", b"f", None, 5])
def test_objects_that_are_not_functions_are_refused(functions: Any) -> None:
    app = client(api_base_url="http://127.0.0.1:1")

    with pytest.raises(ConfigurationError, match="functions"):
        connect([(app, functions)])


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INNGEST_API_BASE_URL", "http://:8288"),
        ("INNGEST_ENV", "my branch"),
        ("INNGEST_CONNECT_GATEWAY_URL", "ws://user:pa55w@gateway:1"),
        ("INNGEST_CONNECT_INSTANCE_ID", "my worker"),
        ("HTTPS_PROXY", "nonsense://user:pa55w@proxy:1"),
        ("all_proxy", "http://user:pa55w@proxy:99999"),
        ("SSL_CERT_FILE", "/nothing/here.pem"),
    ],
)
def test_the_doctor_names_what_connect_would(
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith(("INNGEST_", "SSL_CERT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INNGEST_DEV", "1")
    monkeypatch.setenv("INNGEST_EVENT_API_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    with_module = "inngest_connect.cli.demo_functions"

    for target in (None, with_module) if "_PROXY" in variable.upper() else (None,):
        code = run_doctor(target, timeout=2.0, handshake=False, json=True)

        said = capsys.readouterr()
        first = json.loads(said.out)["checks"][0]
        assert code == 11
        assert first["mark"] == "FAIL"
        assert variable in first["summary"]
        assert "pa55w" not in said.out + said.err


async def test_values_that_were_stripped_are_used_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("INNGEST_API_BASE_URL", f" {gateway.api_origin}\n")
        monkeypatch.setenv("INNGEST_ENV", "branch-1\n")
        async with worker(client(), shutdown_signals=[], wait=True) as connected:
            assert connected.connection_id
        head = gateway.http.get_request_history()[0].headers

    assert head["x-inngest-env"] == "branch-1"


class _BadRepr:
    def __repr__(self) -> str:
        raise SystemExit(3)


class _BadClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class _BadComparison:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")


class _BadAttributes:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class _BadBool:
    def __bool__(self) -> bool:
        raise RuntimeError("no bool")


ODD_VALUES = {
    "bad repr": _BadRepr(),
    "bad class": _BadClass(),
    "bad comparison": _BadComparison(),
    "bad attributes": _BadAttributes(),
    "bad bool": _BadBool(),
    "secret": KEY + "/",
    "address": "wss://user:pa55w@gateway\x1b[31m",
    "long": "x " * 50_000,
    "enormous": 10**5000,
    "nan": float("nan"),
    "half": "\ud800",
    "bytes": b"\x00",
}
TAKES = {
    "instance_id": (),
    "rewrite_gateway_endpoint": (),
    "shutdown_signals": (),
    "max_worker_concurrency": (),
    "gateway_url": (),
    "on": (),
    "isolation": (),
    "startup_timeout": (),
    "shutdown_timeout": (),
    "on_lease_lost": (),
    "retry": (),
    "long_running_warning": (),
    "max_buffer_bytes": ("enormous",),
    "max_message_bytes": (),
    "timing": (),
    "logger": (),
    "meter_provider": (),
    "tracer_provider": (),
    "executor": (),
    "wait": (),
}


def said_about(make: Any) -> str:
    """The error, which is one short line without secrets whatever the value is."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 500
    assert "0a0a0a" not in text
    assert "pa55w" not in text
    return text


@pytest.mark.parametrize("option", TAKES)
def test_an_option_refuses_every_odd_value_by_its_name(option: str) -> None:
    app = client(api_base_url="http://127.0.0.1:1")
    pair = (app, [function(app)])
    # The key without the slash is a name that a worker may have.
    refusing = {n: v for n, v in ODD_VALUES.items() if n not in TAKES[option]}
    if option == "instance_id":
        refusing["secret"] = KEY + "\n"

    for value in refusing.values():
        text = said_about(lambda value=value: connect([pair], **{"logger": False, option: value}))
        assert option in text


@pytest.mark.parametrize("name", ODD_VALUES)
def test_odd_apps_functions_and_listeners_are_refused(name: str) -> None:
    app = client(api_base_url="http://127.0.0.1:1")
    value: Any = ODD_VALUES[name]

    said_about(lambda: connect(value, logger=False))
    said_about(lambda: connect([value], logger=False))
    said_about(lambda: connect([(value, [])], logger=False))
    said_about(lambda: connect([(app, [value])], logger=False))
    said_about(lambda: worker(app, on={"error": value}))
    said_about(lambda: worker(app).add_event_listener(value, print))
    said_about(lambda: worker(app).add_observer(value))
    said_about(lambda: Timing(open_timeout=value))
    said_about(lambda: process_executor(value, 1))
    said_about(lambda: process_executor("apps:apps", value))
    for strategy in (FixedRetry, ScheduleRetry, lambda it: ScheduleRetry([it])):
        with pytest.raises(ValueError, match="retry"):
            strategy(value)
    with pytest.raises(ValueError, match="jitter"):
        ScheduleRetry([1], jitter=value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_worker_concurrency", 2**31),
        ("max_message_bytes", 2**31),
        ("shutdown_timeout", 1e10),
        ("startup_timeout", 1e308),
        ("long_running_warning", 0),
        ("shutdown_signals", ""),
        ("shutdown_signals", {}),
        ("on", [("error", print)]),
        ("wait", 1),
    ],
)
def test_a_value_that_would_fail_later_is_refused_before(option: str, value: Any) -> None:
    assert option in refused(client(api_base_url="http://127.0.0.1:1"), **{option: value})


def test_an_unknown_option_of_reconfigure_is_named() -> None:
    app = client(api_base_url="http://127.0.0.1:1")

    text = said_about(lambda: worker(app).reconfigure(shutdown_timeot=1))

    assert "shutdown_timeot" in text
    assert "shutdown_timeout" in text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "9" * 5000),
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "9999999999"),
        ("INNGEST_CONNECT_SHUTDOWN_TIMEOUT", "1e300"),
        ("INNGEST_CONNECT_SHUTDOWN_TIMEOUT", "9" * 5000),
        ("INNGEST_CONNECT_GATEWAY_URL", "ws://" + "x" * 50_000 + ":0"),
        ("INNGEST_CONNECT_ISOLATE_EXECUTION", "x" * 50_000),
    ],
)
def test_an_endless_variable_is_named_and_shortened(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    app = client(api_base_url="http://127.0.0.1:1")

    assert variable in said_about(lambda: worker(app))


class _AsyncLogger:
    async def debug(self, event: str, **fields: Any) -> None:
        """Nothing."""

    info = warning = error = debug


def test_a_logger_that_has_to_be_awaited_is_refused() -> None:
    app = client(api_base_url="http://127.0.0.1:1")

    with pytest.raises(ConfigurationError, match="whose methods are async"):
        connect([(app, [function(app)])], logger=_AsyncLogger())


@pytest.mark.parametrize(
    "factory",
    [process_executor, ThreadPoolExecutor, lambda ports: None, lambda ports: ports, int],
    ids=["not called", "of threads", "nothing", "ports", "a number"],
)
async def test_what_creates_no_executor_is_refused_at_the_start(factory: Any) -> None:
    started = worker(client(api_base_url="http://127.0.0.1:1"), executor=factory)

    with pytest.raises(ConfigurationError, match=r"executor is .* pass process_executor"):
        await asyncio.wait_for(started.start(), 20.0)

    await asyncio.wait_for(started.closed(), 20.0)
