"""pytest plugin: the fixtures ``embedded_gateway``, ``gateway_thread`` and ``connect_harness``.

It is a module beside the package, because pytest imports the plugins of all installed packages, and
a test run that uses none of them must not import the worker.
"""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest


def _without_event_loop(function: Any) -> Any:
    """A fixture in place of ``function`` that only says what it needs."""

    @pytest.fixture(name=function.__name__)
    def fixture() -> None:
        pytest.fail(
            f"the fixture {function.__name__} needs pytest-asyncio: pip install pytest-asyncio. "
            "For tests without an event loop there is gateway_thread",
            pytrace=False,
        )

    fixture.__doc__ = function.__doc__
    return fixture


try:
    from pytest_asyncio import fixture as _fixture
except ImportError:
    _fixture = _without_event_loop  # type: ignore[assignment]

if TYPE_CHECKING:
    from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway, GatewayThread

MARKER = "connect_gateway"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that ``--strict-markers`` accepts it."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**settings): settings for the fixtures embedded_gateway, gateway_thread and "
        "connect_harness, such as lease=2.0 or gateways=2",
    )


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker(MARKER)
    return dict(marker.kwargs) if marker is not None else {}


@_fixture
async def embedded_gateway(request: pytest.FixtureRequest) -> "AsyncIterator[EmbeddedGateway]":
    """An Inngest server on loopback, for one test."""
    from inngest_connect.testing import EmbeddedGateway

    async with EmbeddedGateway(**_settings(request)) as gateway:
        yield gateway


@pytest.fixture
def gateway_thread(request: pytest.FixtureRequest) -> "Iterator[GatewayThread]":
    """The same for a test without an event loop: the server has its own thread."""
    from inngest_connect.testing import GatewayThread

    with GatewayThread(**_settings(request)) as thread:
        yield thread


@_fixture
async def connect_harness(
    request: pytest.FixtureRequest,
) -> "AsyncIterator[ConnectionTestHarness]":
    """Gateways, API and workers behind fault proxies, for one test."""
    from inngest_connect.testing import ConnectionTestHarness

    async with ConnectionTestHarness(**_settings(request)) as harness:
        yield harness
