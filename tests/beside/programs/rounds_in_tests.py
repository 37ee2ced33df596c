"""The round that every kind of test goes through."""

import asyncio
import os
import threading
from pathlib import Path

from shop import apps, decline, greet, order, pack, report, ship

ADA = {"data": {"name": "Ada"}}


async def play(gateway):
    async with gateway.connect(apps):
        assert (await gateway.invoke(greet, ADA)).output == "Hello, Ada"
        assert (await gateway.invoke(order)).output == [2, 4]
        assert (await gateway.invoke(report)).output == "on a thread"
        assert (await gateway.invoke(decline)).error["message"] == "declined"
        gateway.gateways[0].simulate_connection_drop()
        assert (await gateway.invoke(greet, ADA)).output == "Hello, Ada"
        running = [asyncio.create_task(gateway.invoke(each)) for each in (ship, pack)]
        records = gateway.ledger.records.values()
        await gateway.store.until(
            lambda _: (
                {each.function_slug for each in records if each.acknowledged_by}
                >= {"shop-ship", "shop-pack"}
            )
        )
        let_return_soon()
    assert [(await each).output for each in running] == ["shipped", "packed"]


def play_on_a_thread(gateway):
    with gateway.connect(apps):
        assert gateway.invoke(greet, ADA).output == "Hello, Ada"
        assert gateway.invoke(order).output == [2, 4]
        assert gateway.invoke(report).output == "on a thread"
        assert gateway.invoke(decline).error["message"] == "declined"


def let_return_soon():
    threading.Timer(0.3, Path(os.environ["GO"]).touch).start()
