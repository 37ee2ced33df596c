"""The status page in a real browser: it shows the state, follows it, and reports an outage."""

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inngest_connect import (
    Connected,
    ConnectionState,
    ErrorOccurred,
    LeaseLost,
    Reconnecting,
    connect,
)
from inngest_connect.core.events import Event
from inngest_connect.observability import error_figures
from inngest_connect.observability.debug_state import ChildProcess, InFlightRequest
from inngest_connect.status import StatusServer
from inngest_connect.testing import ConnectionTestHarness
from tests.integration.demo_apps import make_app
from tests.integration.status.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("browser_installed"),
]


@pytest.fixture
def browser_installed() -> None:
    """Without a browser nothing checks the page: on a build server that is a failure."""
    if CHROMIUM is not None:
        return
    reason = "no chromium or google-chrome on the PATH, so the page is not looked at"
    if os.environ.get("CI") and os.environ.get("BROWSER_TESTS") != "skip":
        pytest.fail(f"{reason}; install one, or set BROWSER_TESTS=skip")
    pytest.skip(reason)


STATE = 'document.getElementById("state").textContent'
LIT = '[...document.querySelectorAll("#state-diagram .state.now")].map(s => s.dataset.state).join()'
LAST = """[...document.querySelectorAll("[data-arrow].last")]
    .map(arrow => `${arrow.dataset.from} ${arrow.dataset.to}`).join()"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).innerText.replaceAll('\\u00a0', ' ')"


async def test_the_page_follows_a_worker_reports_an_outage_of_the_server_and_resumes() -> None:
    async with ConnectionTestHarness() as harness, Browser() as browser:
        app = make_app(harness.api_origin, app_version="v7")
        worker = await harness.start_worker([app.pair])
        server = StatusServer(worker, "0")
        url = server.start()
        await browser.open(url)
        await browser.until(f'{STATE} !== ""')

        first = [await browser.evaluate(each) for each in (STATE, LIT, text("#worker"))]
        arrows = await browser.evaluate('document.querySelector(".arrows").textContent')
        stays = await browser.evaluate('document.getElementById("stays").textContent')
        running = asyncio.create_task(harness.gateway.invoke("app-wait", {"data": {"x": "canary"}}))
        await browser.until(f'{text("#requests")}.includes("app-wait")')
        await browser.evaluate('document.querySelector(".group").open = true')
        await browser.until(f'{text("#requests")}.includes("RUNNING")')
        app.seen.release.set()
        await running
        await harness.gateway.invoke("app-hopeless")
        await browser.until('document.querySelector("#functions tr.failing") !== null')
        failing = await browser.evaluate(text("#functions tr.failing"))
        await browser.until(
            'document.querySelector(".bar-done") && document.querySelector(".bar-fail")'
        )
        await browser.until('document.querySelector("[class^=dot-], .line-p50") !== null')
        looks = await how_it_looks(browser)
        messages = browser.messages()
        others = [
            await browser.evaluate(f'document.querySelector("#{each} .now").dataset.state')
            for each in ("phase-diagram", "stage-diagram")
        ]

        await harness.simulate_network_partition()
        await browser.until(f'["RECONNECTING", "CONNECTING"].includes({LIT})')
        await browser.until(f'{text("#errors")}.includes("the connection was lost")')
        await browser.until(f'{text("#cause")} !== ""')
        outage = [await browser.evaluate(each) for each in COLORS]
        timing = await browser.evaluate(text("#timing"))
        await harness.heal_network_partition()
        await browser.until(f'{LIT} === "ACTIVE"')
        last = await browser.evaluate(LAST)
        await asyncio.to_thread(server.stop)
        await browser.until('document.getElementById("lost").offsetHeight > 0')
        mark = await browser.evaluate(text("#lost"))
        server = StatusServer(worker, url.removeprefix("http://"))
        await asyncio.to_thread(server.start)
        await browser.until('document.getElementById("lost").hidden')
        await asyncio.to_thread(server.stop)
        page = await browser.evaluate("document.documentElement.outerHTML")

    assert first[:2] == ["ACTIVE", "ACTIVE"]
    assert "v7, 11 functions" in first[2]
    assert "CONNECTING → ACTIVE: GATEWAY_READY, NEW_CONNECTION_READY" in arrows
    assert "ACTIVE stays: GATEWAY_READY, NEW_CONNECTION_READY" in stays
    assert "app-hopeless" in failing
    assert "2 (100 %)" in failing
    assert messages == []
    assert others == ["ACTIVE", "RUNNING"]
    assert "Since " in timing
    assert len(set(outage)) == 1  # the header, the timeline and the diagram
    assert last == "CONNECTING ACTIVE,CONNECTING ACTIVE"  # in the drawing and in the list
    assert looks["overflow"] == 0
    assert looks["light"] != looks["dark"]
    assert "Disconnected" in mark
    assert "canary" not in page
    assert worker.state is ConnectionState.CLOSED


COLORS = (
    'getComputedStyle(document.getElementById("state")).backgroundColor',
    'getComputedStyle(document.querySelector("#timeline rect:last-of-type")).fill',
    'getComputedStyle(document.querySelector("#state-diagram .now rect")).fill',
)


async def how_it_looks(browser: Browser) -> dict[str, Any]:
    """Measured, because a test cannot judge a picture. On a small telephone, all unfolded."""
    await browser.page(
        "Emulation.setDeviceMetricsOverride",
        width=320,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    await browser.evaluate('document.querySelectorAll("details").forEach(d => d.open = true)')
    overflow = await browser.evaluate("document.documentElement.scrollWidth - 320")
    await browser.evaluate('document.querySelectorAll("details").forEach(d => d.open = false)')
    await browser.page("Emulation.clearDeviceMetricsOverride")
    looks: dict[str, Any] = {"overflow": overflow}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await browser.page("Emulation.setEmulatedMedia", features=features)
        looks[scheme] = await browser.evaluate(BACKGROUND)
    return looks


# --- what is shown, without a gateway: a worker whose snapshot the test writes ------------------


class Shown:
    """A worker that never starts, the state that it is said to be in, and its page."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worker = connect([make_app("http://127.0.0.1:1").pair], logger=False)
        self.state = dataclasses.replace(
            self.worker.get_debug_state(),
            state=ConnectionState.ACTIVE,
            external_state=ConnectionState.ACTIVE,
            last_message_age=1.0,
        )
        monkeypatch.setattr(self.worker, "get_debug_state", lambda: self.state)

    def change(self, **changes: Any) -> None:
        self.state = dataclasses.replace(self.state, **changes)

    def publish(self, *events: Event) -> None:
        for event in events:
            self.worker._announcer.publish(event)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(monkeypatch)


@contextlib.asynccontextmanager
async def page_of(shown: Shown) -> AsyncIterator[Browser]:
    async with Browser() as browser:
        server = StatusServer(shown.worker, "0")
        try:
            await browser.open(await asyncio.to_thread(server.start))
            await browser.until(f'{STATE} !== ""')
            yield browser
        finally:
            await asyncio.to_thread(server.stop)


def in_flight(count: int, slug: str = "app-wait") -> tuple[InFlightRequest, ...]:
    return tuple(
        InFlightRequest(f"{slug}-{age}", f"run-{age}", slug, "RUNNING", float(age), 1.0, 20.0)
        for age in range(count, 0, -1)
    )


async def updates(browser: Browser, count: int = 2) -> None:
    """Wait until the page has shown further answers."""
    await browser.evaluate(
        f"""new Promise(done => {{
            const kept = window.fetch;
            let left = {count};
            window.fetch = async (...all) => {{
                const answer = await kept(...all);
                if (--left < 0) {{ window.fetch = kept; setTimeout(done, 50); }}
                return answer;
            }};
        }})"""
    )


async def test_what_matters_most_comes_first_and_the_diagram_is_folded(shown: Shown) -> None:
    async with page_of(shown) as browser:
        order = await browser.evaluate(
            '[...document.querySelectorAll("header, main > section")].map(s => s.id).join()'
        )
        folded = await browser.evaluate(
            '[...document.querySelectorAll("details")].every(d => !d.open)'
        )
        diagram = await browser.evaluate(
            'document.getElementById("state-diagram").checkVisibility()'
        )

    assert order.split(",")[:4] == [
        "situation", "errors-section", "requests-section", "functions-section",
    ]  # fmt: skip
    assert order.endswith("machine-section")
    assert folded
    assert not diagram


async def test_errors_that_passed_are_folded_away(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_figures, "STABLE_SECONDS", 0.0)
    async with page_of(shown) as browser:
        shown.publish(
            ErrorOccurred("start_failed", "no route"),
            ErrorOccurred("start_failed", "no route at all"),
            Connected("c", "g", 0.1),
            ErrorOccurred("reply_undelivered", "a result is lost"),
        )
        await browser.until(f'{text("#errors")}.includes("reply_undelivered")')
        matters = await browser.evaluate(text("#errors tbody"))
        passed = await browser.evaluate(text("#resolved"))
        await browser.evaluate('document.getElementById("resolved").open = true')
        unfolded = await browser.evaluate(text("#resolved"))

    assert "start_failed" not in matters
    assert passed == "1 kind of error that passed"
    assert "start_failed" in unfolded
    assert unfolded.count("\N{MULTIPLICATION SIGN} 2") == 1
    assert "no route at all" in unfolded


async def test_hundreds_of_requests_are_a_line_for_each_function_that_unfolds(
    shown: Shown,
) -> None:
    crowd, stuck = in_flight(500), in_flight(2, "app-echo")
    shown.change(in_flight=(*crowd, *stuck), running=502)
    async with page_of(shown) as browser:
        await browser.until('document.querySelectorAll(".group").length === 2')
        folded = await browser.evaluate(text("#requests"))
        rows = await browser.evaluate('document.querySelectorAll("#requests tr").length')
        await browser.evaluate('document.querySelector(".group summary").click()')
        await browser.until('document.querySelectorAll("#requests tbody tr").length === 20')
        shown.change(in_flight=(*crowd[1:], *stuck))  # the oldest one has ended
        await browser.until(f'!{text("#requests")}.includes("app-wait-500")')
        unfolded = await browser.evaluate(text("#requests .group"))
        still_open = await browser.evaluate('document.querySelector(".group").open')

    lines = folded.split("app-echo")
    assert "app-wait" in lines[0]
    assert "500" in lines[0]
    assert "8 min 20 s, app-wait-500" in lines[0]
    assert rows == 2  # the heads of the tables
    assert still_open
    assert "run-499" in unfolded
    assert "and 479 more" in unfolded


async def test_what_is_selected_and_what_is_unfolded_survives_updates(shown: Shown) -> None:
    shown.change(in_flight=in_flight(3))
    async with page_of(shown) as browser:
        await browser.until('document.querySelector(".group") !== null')
        await browser.evaluate('document.getElementById("machine").open = true')
        await browser.evaluate(
            'getSelection().selectAllChildren(document.querySelector(".group .oldest"))'
        )
        selected = await browser.evaluate("getSelection().toString()")
        shown.change(in_flight=(), next_attempt=5.0)
        await updates(browser)
        kept = await browser.evaluate("getSelection().toString()")
        says = await browser.evaluate(
            'getComputedStyle(document.getElementById("h-requests"), "::after").content'
        )
        await browser.evaluate("getSelection().removeAllRanges()")
        await browser.until(f'{text("#in-flight-sum")} === "None."')
        groups = await browser.evaluate('document.querySelectorAll(".group").length')
        unfolded = await browser.evaluate('document.getElementById("machine").open')

    assert "app-wait-3" in selected
    assert kept == selected
    assert "not updated" in says
    assert groups == 0
    assert unfolded


async def test_the_state_changes_even_while_everything_is_selected(shown: Shown) -> None:
    async with page_of(shown) as browser:
        await browser.evaluate("getSelection().selectAllChildren(document.body)")
        shown.change(
            state=ConnectionState.CLOSING,
            external_state=ConnectionState.CLOSING,
            shutdown_requested=True,
        )
        await browser.until(f'{STATE} === "CLOSING"')


async def test_long_texts_do_not_overflow_a_small_telephone(shown: Shown) -> None:
    long = "x" * 700
    shown.change(
        in_flight=in_flight(3, "w" * 64),
        max_worker_concurrency=1,
        saturated_age=99.0,
        queued=2,
        child_processes=(ChildProcess(1234567, 3, 10**9, "SERVING"),),
        journal_path=f"/{long}",
        journal_failure=long,
        excluded_gateways=("g" * 64,),
    )
    async with page_of(shown) as browser:
        shown.publish(
            ErrorOccurred("k" * 64, long), Reconnecting(3, 60.0, long), LeaseLost("r", "run", long)
        )
        shown.change(
            state=ConnectionState.RECONNECTING, external_state=ConnectionState.RECONNECTING
        )
        await browser.until(f'{text("#cause")}.includes("xxx") && {text("#errors")}.includes("kk")')
        looks = await how_it_looks(browser)
        warnings = await browser.evaluate(text("#warnings"))

    assert looks["overflow"] == 0
    assert "all 1 slots are taken" in warnings
    assert "the journal is not written" in warnings
