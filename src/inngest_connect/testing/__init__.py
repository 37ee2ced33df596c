"""The test kit: servers on loopback that speak the real protocol, for tests of your functions.

``EmbeddedGateway`` runs functions from event to result, ``ConnectionTestHarness`` adds faults, and
the mock servers follow a script. Needs ``pip install "inngest-connect[testing]"``. Only the names
exported here are public.
"""

from ..extras import missing_extra

try:
    from .embedded_gateway import EmbeddedGateway
    from .executor_request import executor_request
    from .fault_proxy import FaultProxy
    from .gateway_store import DispatchFailed, GatewayStore
    from .gateway_thread import GatewayThread
    from .harness import QUICK_TIMING, ConnectionTestHarness
    from .http_server import GatewayAddress, MockHTTPServer, ReceivedRequest
    from .load import Load
    from .mock_connection import MockConnection
    from .model.gateway import GatewayModel
    from .model.ledger import Ledger, RequestRecord
    from .model.malformed import MalformedKind
    from .model.settings import GatewaySettings
    from .run_driver import RunResult
    from .websocket_server import MockWebSocketServer, ReceivedMessage
except ModuleNotFoundError as error:
    raise missing_extra("the test kit", "testing", error) from None

__all__ = [
    "QUICK_TIMING",
    "ConnectionTestHarness",
    "DispatchFailed",
    "EmbeddedGateway",
    "FaultProxy",
    "GatewayAddress",
    "GatewayModel",
    "GatewaySettings",
    "GatewayStore",
    "GatewayThread",
    "Ledger",
    "Load",
    "MalformedKind",
    "MockConnection",
    "MockHTTPServer",
    "MockWebSocketServer",
    "ReceivedMessage",
    "ReceivedRequest",
    "RequestRecord",
    "RunResult",
    "executor_request",
]
