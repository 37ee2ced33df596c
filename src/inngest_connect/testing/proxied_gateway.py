"""ProxiedGateway: an EmbeddedGateway that workers reach through fault proxies only."""

from typing import Any, Literal

from .embedded_gateway import EmbeddedGateway
from .fault_proxy import FaultProxy
from .websocket_server import MockWebSocketServer

Partition = Literal["reset", "black_hole"]


class ProxiedGateway(EmbeddedGateway):
    """Puts one ``FaultProxy`` before the API and one before each gateway."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.proxies: list[FaultProxy] = []
        """One for each gateway, in their order."""
        self._api_proxy: FaultProxy | None = None

    @property
    def api_proxy(self) -> FaultProxy:
        """The proxy before the API."""
        assert self._api_proxy is not None, "use the harness in 'async with'"
        return self._api_proxy

    @property
    def api_origin(self) -> str:
        """The address of the API's proxy."""
        return f"http://127.0.0.1:{self.api_proxy.port}"

    async def start(self) -> None:
        """Start the servers and their proxies. Raises OSError when a port is taken."""
        await super().start()
        self._api_proxy = FaultProxy(self._host, self.http.port)
        await self._api_proxy.start()

    async def stop(self) -> None:
        """Stop the proxies, then the servers."""
        self.event_loop.check()
        for proxy in self._all_proxies():
            await proxy.stop()
        await super().stop()

    async def advertised_url(self, gateway: MockWebSocketServer) -> str:
        """Start a proxy for a gateway and return the proxy's address."""
        proxy = FaultProxy(self._host, gateway.port)
        await proxy.start()
        self.proxies.append(proxy)
        return f"ws://127.0.0.1:{proxy.port}/v0/connect"

    async def cut_off(self, how: Partition) -> None:
        """Separate workers from the API and all gateways."""
        self.event_loop.check()
        for proxy in self._all_proxies():
            if how == "black_hole":
                proxy.black_hole()
            else:
                await proxy.refuse()
                proxy.reset()

    async def heal(self) -> None:
        """End every fault of every proxy."""
        self.event_loop.check()
        for proxy in self._all_proxies():
            await proxy.restore()

    def _all_proxies(self) -> list[FaultProxy]:
        return [*self.proxies] if self._api_proxy is None else [self._api_proxy, *self.proxies]
