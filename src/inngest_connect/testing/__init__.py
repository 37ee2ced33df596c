"""The test kit: servers that speak the real wire on loopback, for our tests and for yours.

Needs ``pip install "inngest-connect[testing]"``.
"""

from .embedded_gateway import EmbeddedGateway
from .fault_proxy import FaultProxy
from .gateway_model import GatewayModel, GatewaySettings
from .gateway_store import DispatchFailed, GatewayStore
from .gateway_thread import GatewayThread
from .http_server import GatewayAddress, MockHTTPServer, ReceivedRequest
from .ledger import Ledger, RequestRecord
from .run_driver import RunResult
from .websocket_server import MockConnection, MockWebSocketServer, ReceivedMessage

__all__ = [
    "DispatchFailed",
    "EmbeddedGateway",
    "FaultProxy",
    "GatewayAddress",
    "GatewayModel",
    "GatewaySettings",
    "GatewayStore",
    "GatewayThread",
    "Ledger",
    "MockConnection",
    "MockHTTPServer",
    "MockWebSocketServer",
    "ReceivedMessage",
    "ReceivedRequest",
    "RequestRecord",
    "RunResult",
]
