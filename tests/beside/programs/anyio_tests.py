import pytest
from inngest_connect.testing import EmbeddedGateway
from rounds_in_tests import play, play_on_a_thread


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_with_a_block():
    async with EmbeddedGateway() as gateway:
        await play(gateway)


def test_on_a_thread(gateway_thread):
    play_on_a_thread(gateway_thread)
