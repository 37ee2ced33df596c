from rounds_in_tests import play


async def test_with_the_fixture(embedded_gateway):
    await play(embedded_gateway)
