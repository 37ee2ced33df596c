"""A secret of the user's own settings is sent where it belongs, and shown nowhere."""

import asyncio
import base64
import logging
import traceback
from typing import Any

import inngest
import pytest

from inngest_connect import ConfigurationError, StartupTimeout, connect
from inngest_connect.status import StatusServer
from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field
LIMIT = 20.0
KEY = "signkey-prod-" + "c0ffee12" * 8
PASSWORD = "hunter2-secret"
SECRETS = ("c0ffee12", PASSWORD)


def client(origin: str, **options: Any) -> inngest.Inngest:
    settings = {"app_id": "app", "is_production": False, "event_api_base_url": origin}
    return inngest.Inngest(**{**settings, "api_base_url": origin, **options})


def apps(app: inngest.Inngest) -> list[Any]:
    @app.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"), retries=0)
    async def f(ctx: inngest.Context) -> None:
        raise ValueError(f"{KEY} at {app.api_origin}")

    return [(app, [f])]


def with_password(origin: str) -> str:
    return origin.replace("://", f"://me:{PASSWORD}@")


def leaks(texts: "dict[str, str]") -> list[str]:
    return [name for name, text in texts.items() for one in SECRETS if one in text.lower()]


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("key", [None, KEY], ids=["without a key", "with a key"])
async def test_a_password_in_the_address_of_the_api_is_sent_and_not_shown(
    key: str | None, isolation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[Any] = []
    async with EmbeddedGateway() as gateway:
        origin = with_password(gateway.api_origin)
        app = client(origin, is_production=key is not None, signing_key=key)
        names = ("error", "connected", "request_completed", "state_change")
        worker = connect(
            apps(app), isolation=isolation, on=dict.fromkeys(names, events.append), wait=True
        )
        async with worker:
            server = StatusServer(worker, "127.0.0.1:0")
            url = server.start()
            try:
                await asyncio.wait_for(gateway.invoke("app-f"), LIMIT)
                reader, writer = await asyncio.open_connection("127.0.0.1", url.rsplit(":", 1)[1])
                writer.write(b"GET /state.json HTTP/1.1\r\nHost: 127.0.0.1\r\n")
                writer.write(b"Connection: close\r\n\r\n")
                page = (await asyncio.wait_for(reader.read(), LIMIT)).decode()
                writer.close()
            finally:
                await asyncio.to_thread(server.stop)
            shown = {
                "page": page,
                "worker": repr(worker),
                "configuration": repr(worker.configuration),
                "debug state": repr(worker.get_debug_state()),
                "tasks": repr(asyncio.all_tasks()),
            }
        history = gateway.http.get_request_history("/v0/connect/start")
        sent = [one.headers.get("authorization", "") for one in history]

    shown["log"] = caplog.text
    shown["events"] = repr(events)
    basic = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert leaks(shown) == []
    assert "app" in page
    assert [one == basic for one in sent] == [key is None] * len(sent)
    assert sent


@pytest.mark.parametrize("is_production", [False, True])
@pytest.mark.parametrize("name", ["signing_key", "INNGEST_SIGNING_KEY_FALLBACK"])
def test_a_key_is_masked_also_where_it_is_not_sent(
    name: str, is_production: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The development server takes any key, and it can be the one of production."""
    options: dict[str, Any] = {"is_production": is_production}
    if name == "signing_key":
        options[name] = KEY
    else:
        options["signing_key"] = "signkey-prod-" + "ab" * 32
        monkeypatch.setenv(name, KEY)
    worker = connect(apps(client("http://127.0.0.1:1", **options)), shutdown_signals=[])

    shown = worker.redact({"where": f"{KEY.removeprefix('signkey-prod-')} of a function"})

    assert leaks({"shown": shown["where"]}) == []


async def test_a_password_is_not_in_the_error_of_an_address_that_nobody_answers() -> None:
    app = client(with_password("http://127.0.0.1:1"))
    worker = connect(apps(app), startup_timeout=0.5, shutdown_signals=[])

    with pytest.raises(StartupTimeout) as raised:
        await asyncio.wait_for(worker.start(), LIMIT)

    assert leaks({"error": "".join(traceback.format_exception(raised.value))}) == []


@pytest.mark.parametrize(
    "other",
    [
        {"api_base_url": with_password("http://127.0.0.1:2")},
        {"signing_key": "signkey-prod-" + "c0ffee13" * 8},
        {"env": "other"},
    ],
)
def test_clients_that_differ_are_refused_without_their_secrets(other: dict[str, Any]) -> None:
    origin = with_password("http://127.0.0.1:1")
    one = client(origin, is_production=True, signing_key=KEY)
    two = client(origin, app_id="b", **{"is_production": True, "signing_key": KEY, **other})

    with pytest.raises(ConfigurationError) as raised:
        connect([*apps(one), (two, [])])

    assert leaks({"error": str(raised.value)}) == []
