"""Options and environment variables."""

import contextlib
import inspect
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from inngest_connect.core.retry import FixedRetry, ScheduleRetry
from inngest_connect.core.settings import CoreSettings, Timing
from inngest_connect.errors import ConfigurationError
from inngest_connect.factory import connect
from inngest_connect.options import OPTIONS, ConnectOptions, resolve_options
from inngest_connect.sdk.identity import check_protobuf_implementation

pytestmark = pytest.mark.unit


@contextlib.contextmanager
def entered() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def entered_by_await() -> AsyncIterator[None]:
    yield


def resolve(environment: dict[str, str] | None = None, **options: Any) -> ConnectOptions:
    return resolve_options(environment or {}, **options)


def test_the_default_instance_id_is_unique_per_process_and_stable_in_it() -> None:
    first, second = resolve().instance_id, resolve().instance_id

    assert first == second
    assert first.startswith(f"{socket.gethostname()}-")
    assert len(first) == len(socket.gethostname()) + 7


@pytest.mark.scenario("9")
def test_concurrency_comes_from_the_option_then_the_variable_then_nowhere() -> None:
    variable = {"INNGEST_CONNECT_MAX_WORKER_CONCURRENCY": "5"}

    assert resolve(variable, max_worker_concurrency=3).max_worker_concurrency == 3
    assert resolve(variable).max_worker_concurrency == 5
    assert resolve().max_worker_concurrency is None


@pytest.mark.scenario("10")
def test_the_gateway_url_comes_from_the_option_then_the_variable() -> None:
    variable = {"INNGEST_CONNECT_GATEWAY_URL": "ws://from-variable:1/x"}

    assert resolve(variable, gateway_url="wss://option").gateway_url == "wss://option"
    assert resolve(variable).gateway_url == "ws://from-variable:1/x"
    assert resolve().gateway_url is None


@pytest.mark.parametrize(
    ("text", "isolation"), [("0", "none"), ("false", "none"), ("1", "thread"), ("True", "thread")]
)
def test_isolation_has_a_variable(text: str, isolation: str) -> None:
    assert resolve({"INNGEST_CONNECT_ISOLATE_EXECUTION": text}).isolation == isolation


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("max_worker_concurrency", 0, "0"),
        ("max_worker_concurrency", -4, "-4"),
        ("max_worker_concurrency", True, "True"),
        ("instance_id", "  ", "'  '"),
        ("gateway_url", "https://gateway", "https://gateway"),
        ("gateway_url", "ws://", "ws://"),
        ("api_origin", "ws://api", "ws://api"),
        ("api_origin", 8288, "8288"),
        ("gateway_url", "ws://h:99999", "ws://h:99999"),
        ("isolation", "process", "'process'"),
        ("wait", "yes", "'yes'"),
        ("long_running_warning", 0, "0"),
        ("startup_timeout", -1, "-1"),
        ("shutdown_timeout", float("nan"), "nan"),
        ("shutdown_timeout", "30", "'30'"),
        ("on_lease_lost", "ignore", "'ignore'"),
        ("retry", 5, "5"),
        ("execution_context", "scope", "'scope'"),
        ("execution_context", contextlib.nullcontext(), "nullcontext"),
        ("execution_context", entered(), "_GeneratorContextManager"),
        ("execution_context", entered_by_await, "entered_by_await"),
        ("max_buffer_bytes", 1, "1"),
        ("max_message_bytes", "big", "'big'"),
        ("shutdown_signals", ["SIGTERM"], "SIGTERM"),
        ("rewrite_gateway_endpoint", "ws://x", "ws://x"),
    ],
)
def test_a_wrong_value_is_named_with_its_option(option: str, value: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(**{option: value})

    assert option in str(caught.value)
    assert shown in str(caught.value)


@pytest.mark.scenario("9")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "many"),
        ("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "-1"),
        ("INNGEST_CONNECT_GATEWAY_URL", "gateway:8289"),
        ("INNGEST_CONNECT_API_ORIGIN", "127.0.0.1:8288"),
        ("INNGEST_CONNECT_ISOLATE_EXECUTION", "perhaps"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({variable: value})

    assert variable in str(caught.value)
    assert value in str(caught.value)


def test_signals_default_to_the_usual_two_and_may_be_none() -> None:
    assert resolve().shutdown_signals == (signal.SIGINT, signal.SIGTERM)
    assert resolve(shutdown_signals=[]).shutdown_signals == ()
    assert resolve(shutdown_signals=[signal.SIGUSR1]).shutdown_signals == (signal.SIGUSR1,)


def test_the_retry_strategy_can_be_replaced() -> None:
    assert isinstance(resolve().retry, ScheduleRetry)
    assert isinstance(resolve(retry=FixedRetry(1)).retry, FixedRetry)


def test_the_core_gets_every_limit_that_was_set() -> None:
    options = resolve(
        timing=Timing(reply_ack_timeout=1.5, drain_ack_timeout=0.5, heartbeat_interval=2.0),
        shutdown_timeout=9,
        startup_timeout=8,
        max_worker_concurrency=4,
    )

    settings = options.core_settings(signing_keys=2, api_origin="http://api")

    assert (settings.reply_ack_timeout, settings.drain_ack_timeout) == (1.5, 0.5)
    assert (settings.shutdown_timeout, settings.startup_timeout) == (9.0, 8.0)
    assert (settings.max_worker_concurrency, settings.signing_keys) == (4, 2)
    assert settings.heartbeat_interval == 2.0


def test_the_core_without_options_has_their_defaults() -> None:
    settings = resolve().core_settings(signing_keys=0, api_origin="")

    assert settings == CoreSettings(start_timeout=15.0, open_timeout=11.0)


def test_connect_passes_on_every_option_of_the_table_and_no_other() -> None:
    assert list(inspect.signature(connect).parameters) == ["apps", *OPTIONS]


@pytest.mark.parametrize("name", OPTIONS)
def test_connect_passes_on_the_value_of_an_option(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[dict[str, Any]] = []

    def refuse(**options: Any) -> ConnectOptions:
        passed.append(options)
        raise ConfigurationError("the rest is not looked at")

    monkeypatch.setattr("inngest_connect.factory.resolve_options", refuse)
    value: Any = object()

    with pytest.raises(ConfigurationError):
        connect([], **{name: value})

    assert [key for key, each in passed[0].items() if each is value] == [name]


def test_listeners_and_the_logger_are_fixed_when_the_worker_is_created() -> None:
    for name in ("on", "logger"):
        with pytest.raises(ConfigurationError, match=f"{name} cannot be changed"):
            resolve().changed(**{name: None})


@pytest.mark.scenario("security-protobuf")
def test_the_pure_python_protobuf_is_refused_unless_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_protobuf_implementation("upb")
    with pytest.raises(ConfigurationError, match="pure-Python"):
        check_protobuf_implementation("python")
    monkeypatch.setenv("INNGEST_CONNECT_ALLOW_PURE_PYTHON_PROTOBUF", "1")
    check_protobuf_implementation("python")


def test_the_instance_id_comes_from_the_option_then_the_variable() -> None:
    variable = {"INNGEST_CONNECT_INSTANCE_ID": "pod-7"}

    assert resolve(variable, instance_id="mine").instance_id == "mine"
    assert resolve(variable).instance_id == "pod-7"


def test_the_shutdown_timeout_comes_from_the_option_then_the_variable() -> None:
    variable = {"INNGEST_CONNECT_SHUTDOWN_TIMEOUT": "25.5"}

    assert resolve(variable, shutdown_timeout=3).shutdown_timeout == 3.0
    assert resolve(variable).shutdown_timeout == 25.5
    assert resolve().shutdown_timeout is None


@pytest.mark.parametrize("text", ["soon", "-1", "inf"])
def test_a_wrong_shutdown_timeout_names_its_variable(text: str) -> None:
    with pytest.raises(ConfigurationError, match="INNGEST_CONNECT_SHUTDOWN_TIMEOUT is"):
        resolve({"INNGEST_CONNECT_SHUTDOWN_TIMEOUT": text})


def test_changed_options_keep_the_rest_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INNGEST_CONNECT_MAX_WORKER_CONCURRENCY", "5")
    options = resolve(instance_id="mine", retry=FixedRetry(1.0), max_buffer_bytes=4096)

    changed = options.changed(gateway_url="ws://there:1/")

    assert changed.gateway_url == "ws://there:1/"
    assert changed.changed(gateway_url=None) == options
    with pytest.raises(ConfigurationError, match="gateway_url is 'x'"):
        options.changed(gateway_url="x")


def test_telemetry_providers_are_kept_and_anything_else_is_refused() -> None:
    meters, tracers = NoOpMeterProvider(), NoOpTracerProvider()

    options = resolve(meter_provider=meters, tracer_provider=tracers)

    assert (options.meter_provider, options.tracer_provider) == (meters, tracers)
    with pytest.raises(ConfigurationError, match=r"meter_provider is 5.*get_meter\(\)"):
        resolve(meter_provider=5)
    with pytest.raises(ConfigurationError, match=r"tracer_provider is 'x'.*get_tracer\(\)"):
        resolve(tracer_provider="x")
