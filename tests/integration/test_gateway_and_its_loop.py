"""The test kit on an event loop that stands still, or whose clock does."""

import asyncio
import time

import inngest
import pytest

from inngest_connect import LocalMistake
from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway
from tests.integration.demo_apps import make_client

pytestmark = pytest.mark.integration


def test_a_gateway_that_is_used_on_another_loop_than_its_own_names_both() -> None:
    gateway = EmbeddedGateway()
    with asyncio.Runner() as fixtures:
        fixtures.run(gateway.start())
        uses = [
            gateway.invoke("app-f"),
            gateway.wait_for_worker(),
            gateway.wait_until_idle(),
            gateway.drain(),
            gateway.add_gateway(),
            gateway.connect([]).__aenter__(),
            gateway.stop(),
        ]
        for use in uses:
            with pytest.raises(LocalMistake, match=r"running=False .*running=True .*loop_scope"):
                asyncio.run(use)
        fixtures.run(gateway.stop())


def test_a_harness_that_is_used_on_another_loop_than_its_own_names_both() -> None:
    harness = ConnectionTestHarness()
    with asyncio.Runner() as fixtures:
        fixtures.run(harness.__aenter__())
        for use in (harness.start_worker([]), harness.simulate_network_partition()):
            with pytest.raises(LocalMistake, match=r"running=False .*running=True .*loop_scope"):
                asyncio.run(use)
        fixtures.run(harness.__aexit__(None, None, None))


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_gateway_serves_while_the_clock_of_python_stands_still(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client("http://127.0.0.1:9")

    @client.create_function(fn_id="sync", trigger=inngest.TriggerEvent(event="x"), retries=1)
    def sync(ctx: inngest.ContextSync) -> int:
        if ctx.attempt == 0:
            raise ValueError("again")
        return 42

    with monkeypatch.context() as frozen:
        if when == "before":
            frozen.setattr(time, "monotonic", lambda: 1_577_836_800.0)
        async with (
            EmbeddedGateway(retry_delay=0.01) as gateway,
            gateway.connect([(client, [sync])]),
        ):
            if when == "meanwhile":
                frozen.setattr(time, "monotonic", lambda: 1_577_836_800.0)
            result = await gateway.invoke(sync)

    assert result.output == 42
