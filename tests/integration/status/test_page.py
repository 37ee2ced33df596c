"""The status page in a real browser: it shows the state, follows it, and reports an outage."""

import asyncio
import os
from typing import Any

import pytest

from inngest_connect import ConnectionState
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
LIT = '[...document.querySelectorAll("#diagram .state.now")].map(s => s.dataset.state).join()'
LAST = """[...document.querySelectorAll("[data-arrow].last")]
    .map(arrow => `${arrow.dataset.from} ${arrow.dataset.to}`).join()"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).innerText"


async def test_the_page_follows_a_worker_reports_an_outage_of_the_server_and_resumes() -> None:
    async with ConnectionTestHarness() as harness, Browser() as browser:
        app = make_app(harness.api_origin, app_version="v7")
        worker = await harness.start_worker([app.pair])
        server = StatusServer(worker, "0")
        url = server.start()
        await browser.open(url)
        await browser.until(f'{STATE} !== ""')

        first = [await browser.evaluate(each) for each in (STATE, LIT, text("#versions"))]
        arrows = await browser.evaluate(text("#arrows"))
        stays = await browser.evaluate('document.getElementById("stays").textContent')
        running = asyncio.create_task(harness.gateway.invoke("app-wait", {"data": {"x": "canary"}}))
        await browser.until(f'{text("#requests")}.includes("app-wait")')
        row = await browser.evaluate(text("#requests tbody tr"))
        app.seen.release.set()
        await running
        await harness.gateway.invoke("app-hopeless")
        await browser.until(
            'document.querySelector(".bar-done") && document.querySelector(".bar-fail")'
        )
        await browser.until('document.querySelector("[class^=dot-], .line-p50") !== null')
        looks = await how_it_looks(browser)
        messages = browser.messages()

        await harness.simulate_network_partition()
        await browser.until(f'["RECONNECTING", "CONNECTING"].includes({LIT})')
        await browser.until(f'{text("#errors")}.includes("the connection was lost")')
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
    assert "v7" in first[2]
    assert "CONNECTING → ACTIVE: GATEWAY_READY, NEW_CONNECTION_READY" in arrows
    assert "ACTIVE stays: GATEWAY_READY, NEW_CONNECTION_READY" in stays
    assert "RUNNING" in row
    assert messages == []
    assert last == "CONNECTING ACTIVE,CONNECTING ACTIVE"  # in the drawing and in the list
    assert looks["overflow at 360"] == 0
    assert looks["light"] != looks["dark"]
    assert "Disconnected" in mark
    assert "canary" not in page
    assert worker.state is ConnectionState.CLOSED


async def how_it_looks(browser: Browser) -> dict[str, Any]:
    """Measured, because a test cannot judge a picture."""
    await browser.page(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    overflow = await browser.evaluate("document.documentElement.scrollWidth - 360")
    await browser.page("Emulation.clearDeviceMetricsOverride")
    looks: dict[str, Any] = {"overflow at 360": overflow}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await browser.page("Emulation.setEmulatedMedia", features=features)
        looks[scheme] = await browser.evaluate(BACKGROUND)
    return looks
