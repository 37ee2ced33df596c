import datetime

import freezegun
import pytest
from rounds_in_tests import play, play_on_a_thread


@pytest.mark.asyncio
@freezegun.freeze_time("2030-01-01")
async def test_with_the_fixture(embedded_gateway):
    assert datetime.date.today().year == 2030
    await play(embedded_gateway)


@pytest.mark.asyncio
async def test_frozen_in_the_middle(embedded_gateway):
    with freezegun.freeze_time("2030-01-01"):
        await play(embedded_gateway)


@freezegun.freeze_time("2030-01-01")
def test_on_a_thread(gateway_thread):
    play_on_a_thread(gateway_thread)
