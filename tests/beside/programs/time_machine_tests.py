import datetime

import pytest
import time_machine
from rounds_in_tests import play, play_on_a_thread


@pytest.mark.asyncio
async def test_with_the_fixture(embedded_gateway):
    with time_machine.travel("2030-01-01", tick=False):
        assert datetime.date.today().year == 2030
        await play(embedded_gateway)


@time_machine.travel("2030-01-01", tick=False)
def test_on_a_thread(gateway_thread):
    play_on_a_thread(gateway_thread)
