"""Each rule of conduct notices when a worker breaks it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.wire.messages import envelope
from inngest_connect.protocol import connect_pb2 as pb
from simulation.conduct import SYSTEM_TRACE, USER_TRACE, Conduct
from simulation.invariants import InvariantViolated

pytestmark = pytest.mark.unit
TRACES: dict[str, Any] = {"user_trace_ctx": USER_TRACE, "system_trace_ctx": SYSTEM_TRACE}
ACK = pb.WorkerRequestAckData(request_id="r", **TRACES).SerializeToString()


class Worker:
    """What a worker sends on connection 1, and what it receives."""

    def __init__(self) -> None:
        self.conduct = Conduct()
        self.now = 0.0
        self.unfinished = ["r"]

    def core(self) -> Any:
        requests = SimpleNamespace(unfinished_ids=lambda: self.unfinished, queue=["one", "two"])
        return SimpleNamespace(requests=requests)

    def takes(self, input: inputs.Input) -> None:
        self.conduct.received(input, self.core())

    def does(self, command: do.Command) -> None:
        self.conduct.command(command, self.core(), self.now, 0.0)

    def sends(self, kind: pb.GatewayMessageType, payload: bytes = b"") -> None:
        self.does(do.Send(1, envelope(kind, payload)))

    def receives(self, kind: pb.GatewayMessageType, payload: bytes = b"") -> None:
        self.takes(inputs.MessageReceived(1, envelope(kind, payload)))

    def ready(self) -> "Worker":
        self.sends(pb.WORKER_CONNECT)
        ready = pb.GatewayConnectionReadyData(heartbeat_interval="10s")
        self.receives(pb.GATEWAY_CONNECTION_READY, ready.SerializeToString())
        self.sends(pb.WORKER_READY)
        return self

    def closing(self) -> "Worker":
        self.takes(inputs.CloseRequested())
        return self

    def acknowledges(self, *request_ids: str) -> "Worker":
        for request_id in request_ids:
            self.conduct.acknowledged(request_id, self.now)
        return self

    def heartbeats(self, *times: float) -> None:
        for self.now in times:
            self.sends(pb.WORKER_HEARTBEAT)

    def executes(self, *request_ids: str) -> None:
        for request_id in request_ids:
            self.does(do.Execute(pb.GatewayExecutorRequestData(request_id=request_id)))

    def draining(self) -> "Worker":
        self.receives(pb.GATEWAY_CLOSING)
        return self

    def offline(self) -> "Worker":
        self.takes(inputs.StartFailed(1, None, "no address", offline=True))
        return self


def status(*request_ids: str) -> bytes:
    return pb.WorkerStatusData(in_flight_request_ids=request_ids).SerializeToString()


def after_close(worker: Worker) -> None:
    worker.does(do.CloseSocket(1, 1000, ""))
    worker.sends(pb.WORKER_HEARTBEAT)


def pause_soon_after_an_acknowledgement(worker: Worker) -> None:
    worker.ready().acknowledges("r").closing()
    worker.now = 0.2
    worker.sends(pb.WORKER_PAUSE)


def ends_after_it_was_connected(worker: Worker) -> None:
    worker.does(seen.Connected("c", "g", 0.1))
    worker.does(do.Finished(None))


BROKEN: dict[str, tuple[Callable[[Worker], object], str]] = {
    "a heartbeat in the handshake": (
        lambda w: w.sends(pb.WORKER_HEARTBEAT), "before the handshake is over",
    ),
    "a second introduction": (
        lambda w: w.ready().sends(pb.WORKER_CONNECT), "on connection 1 for the second time",
    ),
    "READY twice": (lambda w: w.ready().sends(pb.WORKER_READY), "at a wrong time"),
    "PAUSE without a shutdown": (lambda w: w.ready().sends(pb.WORKER_PAUSE), "at a wrong time"),
    "PAUSE that can overtake": (pause_soon_after_an_acknowledgement, "overtakes"),
    "a message after the close": (after_close, "after its close"),
    "a late heartbeat": (lambda w: w.ready().heartbeats(1.0, 11.2), r"10\.2 s after the last one"),
    "a heartbeat in a drain": (
        lambda w: w.ready().draining().heartbeats(1.0), "although it is draining",
    ),
    "work in a shutdown": (
        lambda w: w.ready().closing().sends(pb.WORKER_REQUEST_ACK, ACK), "takes work",
    ),
    "work in a drain": (
        lambda w: w.ready().draining().sends(pb.WORKER_REQUEST_ACK, ACK), "takes work",
    ),
    "traces of another request": (
        lambda w: w.ready().sends(pb.WORKER_REPLY), "with other trace contexts",
    ),
    "a flush without traces": (lambda w: w.does(do.Flush("r", b"", 0)), "a flush with other"),
    "a wrong status": (
        lambda w: w.ready().sends(pb.WORKER_STATUS, status("x")), "names other requests",
    ),
    "an exclusion without a reason": (
        lambda w: w.does(do.RequestStart(1, ("g",), 0)), "excluded without a reason",
    ),
    "the second request before the first": (
        lambda w: w.acknowledges("one", "two").executes("two"), "two is executed before one",
    ),
    "an end that was not asked for": (ends_after_it_was_connected, "was not asked to"),
    "a long wait without a network": (
        lambda w: w.offline().does(seen.Reconnecting(1, 30.0, "no address")), r"30\.0 s until",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_worker_that_breaks_a_rule_is_noticed(name: str) -> None:
    breaks, violation = BROKEN[name]

    with pytest.raises(InvariantViolated, match=violation):
        breaks(Worker())


def test_a_worker_that_keeps_the_rules_is_not() -> None:
    worker = Worker()
    worker.takes(inputs.StartSucceeded(1, "c", "ws://g", "g", "s", "t"))
    worker.does(do.RequestStart(1, ("g",), 0))
    worker.ready().heartbeats(1.0, 11.0)
    worker.does(seen.Connected("c", "g", 0.1))
    worker.sends(pb.WORKER_REQUEST_ACK, ACK)
    worker.acknowledges("one", "two").executes("one", "two")
    worker.takes(inputs.Tick())
    worker.sends(pb.WORKER_STATUS, status("r"))
    worker.closing().now += 0.25
    worker.sends(pb.WORKER_PAUSE)
    worker.does(do.Flush("r", pb.SDKResponse(request_id="r", **TRACES).SerializeToString(), 0))
    worker.does(do.Finished(None))


def test_a_status_names_what_was_in_flight_before_its_turn_gave_it_up() -> None:
    worker = Worker().ready()
    worker.takes(inputs.Tick())
    worker.unfinished = []

    worker.sends(pb.WORKER_STATUS, status("r"))
