"""Pictures of the status page for the documentation: ``make pictures`` takes them anew.

Nothing in them is invented. A gateway and a worker run on loopback, each situation is brought
about, and Chromium takes a picture of what the worker's own status server shows.
"""

import asyncio
import base64
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import inngest

from inngest_connect import WebSocketWorkerConnection, connect
from inngest_connect.observability.package_logger import silent_logger
from inngest_connect.status import StatusServer
from inngest_connect.testing import ConnectionTestHarness
from tests.integration.status.browser import CHROMIUM, Browser

PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"
LARGEST: Final = 200_000
DESK: Final = (1100, 1000)
PHONE: Final = (390, 844)
chance: Final = random.Random(7)  # noqa: S311 - durations and failures of the functions


class CardDeclined(Exception):
    """What a payment that fails raises."""


def shop_functions(client: inngest.Inngest, end: asyncio.Event) -> list[inngest.Function[Any]]:
    """Functions of a shop, of which one fails now and then and one runs until the end."""

    def function(fn_id: str) -> Callable[[Any], inngest.Function[Any]]:
        trigger = inngest.TriggerEvent(event=f"shop/{fn_id}")
        return client.create_function(fn_id=fn_id, trigger=trigger, retries=0)

    @function("charge-card")
    async def charge_card(ctx: inngest.Context) -> str:
        await asyncio.sleep(chance.uniform(0.08, 0.2))
        if chance.random() < 0.06:
            raise CardDeclined("the bank refused the payment: insufficient funds")
        return "charged"

    @function("send-receipt")
    async def send_receipt(ctx: inngest.Context) -> str:
        await asyncio.sleep(chance.uniform(0.02, 0.06))
        return "sent"

    @function("resize-image")
    async def resize_image(ctx: inngest.Context) -> str:
        await asyncio.sleep(chance.uniform(0.3, 1.5))
        return "resized"

    @function("export-orders")
    async def export_orders(ctx: inngest.Context) -> str:
        await end.wait()
        return "exported"

    @function("report-month")
    async def report_month(ctx: inngest.Context) -> str:
        return "reported"

    return [charge_card, send_receipt, resize_image, export_orders, report_month]


class Shop:
    """A worker of the shop with its status server, and the traffic that it gets."""

    def __init__(
        self, worker: WebSocketWorkerConnection, harness: ConnectionTestHarness, url: str
    ) -> None:
        self.worker = worker
        self.harness = harness
        self.url = url
        self._runs: set[asyncio.Task[Any]] = set()

    def invoke(self, name: str, count: int = 1) -> None:
        """Send requests and let them run."""
        for _ in range(count):
            run = asyncio.create_task(self.harness.gateway.invoke(f"shop-{name}"))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    async def traffic(self, seconds: float) -> None:
        """What a shop gets in some seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            names = ("charge-card", "send-receipt", "send-receipt", "resize-image")
            self.invoke(chance.choice(names))
            await asyncio.sleep(chance.uniform(0.005, 0.05))

    async def settle(self) -> None:
        """Wait for what still runs."""
        await asyncio.gather(*self._runs, return_exceptions=True)


@contextlib.asynccontextmanager
async def a_shop(sync_delay: float = 0.3, **options: Any) -> AsyncIterator[Shop]:
    """Within it, the worker is ACTIVE and serves its status page."""
    end = asyncio.Event()
    async with ConnectionTestHarness(
        sync_delay=sync_delay, skip_unchanged_sync=False, lease=60.0
    ) as harness:
        client = harness.client("shop", app_version="v42", logger=silent_logger("shop").logger)
        worker = connect(
            [(client, shop_functions(client, end))],
            instance_id="shop-7f9c",
            logger=False,
            wait=True,
            **options,
        )
        server = StatusServer(worker, "0")
        shop = Shop(worker, harness, await asyncio.to_thread(server.start))
        async with worker:
            try:
                yield shop
            finally:
                end.set()
                await harness.heal_network_partition()
                await shop.settle()
        await asyncio.to_thread(server.stop)


async def take(browser: Browser, url: str, size: tuple[int, int], *, dark: bool = False) -> bytes:
    """A picture of the page as it is now, as a PNG."""
    width, height = size
    await browser.page(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=size == PHONE,
    )
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    await browser.page("Emulation.setEmulatedMedia", features=features)
    await browser.open(url)
    await browser.until('document.getElementById("state").textContent !== ""')
    await asyncio.sleep(1.2)  # the charts fill the width that was set
    picture = await browser.page("Page.captureScreenshot", format="png")
    return base64.b64decode(picture["data"])


async def main() -> int:
    """Take all pictures; returns 1 without a browser."""
    if CHROMIUM is None:
        sys.stdout.write("no chromium or google-chrome on the PATH\n")
        return 1
    PICTURES.mkdir(exist_ok=True)
    taken: dict[str, bytes] = {}
    async with Browser() as browser, a_shop(max_worker_concurrency=50) as shop:
        shop.invoke("export-orders", 3)
        await shop.traffic(45)
        busy = asyncio.create_task(shop.traffic(15))
        taken["status-load"] = await take(browser, shop.url, DESK)
        taken["status-phone"] = await take(browser, shop.url, PHONE, dark=True)
        await busy
        await shop.harness.simulate_network_partition()
        await asyncio.sleep(12)
        taken["status-outage"] = await take(browser, shop.url, DESK)
    for name, picture in taken.items():
        sys.stdout.write(f"docs/pictures/{name}.png: {len(picture)} bytes\n")
        assert len(picture) < LARGEST
        (PICTURES / f"{name}.png").write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
