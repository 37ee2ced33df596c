import pytest
from inngest_connect.testing import EmbeddedGateway
from rounds_in_tests import play, play_on_a_thread


@pytest.mark.asyncio
async def test_with_the_fixture(embedded_gateway):
    await play(embedded_gateway)


@pytest.mark.asyncio
async def test_with_a_block():
    async with EmbeddedGateway() as gateway:
        await play(gateway)


def test_on_a_thread(gateway_thread):
    play_on_a_thread(gateway_thread)
