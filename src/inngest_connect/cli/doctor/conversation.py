"""Checks 10 to 12: the handshake, three heartbeats, and the close.

The handshake is the worker's own ``MessageHandler``. WORKER_READY is never sent, so no request is
routed here; WORKER_PAUSE takes its place, because a gateway answers heartbeats only once the
connection has left the handshake.
"""

import statistics
import time
from typing import Final

from ...core.connections.heartbeat import HeartbeatMonitor
from ...core.connections.inbound import (
    ConnectionReady,
    GatewayClosing,
    HeartbeatAcked,
    Inbound,
    Malformed,
    RequestArrived,
    SyncFailed,
    Violation,
)
from ...core.connections.refusals import REMEDIES
from ...core.inputs import SocketClosed
from ...core.settings import CoreSettings
from ...core.wire import messages
from ...core.wire.remote_text import clean
from ...protocol import CLOSE_ABNORMAL, CLOSE_NORMAL, REASON_WORKER_SHUTDOWN
from .dialog import Dialog, Ended
from .examination import Examination
from .findings import Finding, Problem, failed, skipped

HANDSHAKE_PATIENCE: Final = 6.0
"""Times the timeout: a first synchronisation of the apps takes tens of seconds."""

ROUND_TRIPS: Final = 3

_CLOSE_CODES: Final = {
    1001: "The gateway is going away, as at an update of Inngest: run the doctor again",
    1006: "Something on the way ended the connection: a proxy or load balancer that does not know "
    "WebSockets, or a gateway that was killed. Run the doctor again",
    1007: "Something on the way changes messages: look for a proxy that inspects them",
    1009: "A message was too large: fewer functions per app, or report this",
    1011: "Inngest says so for wrong function configurations too: check the functions of every "
    "app, then Inngest's status page",
}


async def check_handshake(examination: Examination) -> Finding:
    if not examination.handshake:
        return skipped("it would register functions with Inngest: --connect does it")
    session, answer = examination.session, examination.answer
    assert session is not None
    assert answer is not None
    begun = time.monotonic()
    settings = CoreSettings(
        hello_timeout=examination.timeout,
        ready_timeout=HANDSHAKE_PATIENCE * examination.timeout,
    )
    dialog = examination.dialog = Dialog(
        session, examination.subject.identity, settings, answer, begun
    )
    while True:
        inbound = await dialog.step()
        if isinstance(inbound, ConnectionReady):
            session.send(messages.PAUSE)
            return _ready(inbound, dialog, time.monotonic() - begun)
        if inbound is not None:
            return _unready(inbound)


def _ready(ready: ConnectionReady, dialog: Dialog, seconds: float) -> Finding:
    heartbeat = dialog.generation.heartbeat
    assert heartbeat is not None
    intervals = {
        "heartbeat": heartbeat.interval,
        "extend_lease": ready.extend_lease_interval,
        "status": dialog.generation.status_interval,
    }
    shown = ", ".join(f"{name} {value:g} s" for name, value in intervals.items())
    problems = tuple(
        Problem(text, "Report it to whoever runs the gateway; the worker copes", fatal=False)
        for text in ready.complaints
    )
    return Finding(
        f"ready after {seconds * 1000:.0f} ms; {shown}", problems, data={"intervals": intervals}
    )


def _unready(inbound: Inbound | Ended) -> Finding:
    match inbound:
        case str():
            return failed(inbound, _silence(inbound))
        case SocketClosed():
            return _closed(inbound)
        case SyncFailed(code, message):
            text = f"the gateway could not synchronise the apps: {code} {message}".rstrip()
            return failed(
                text, "Correct what the text names in the apps' functions, or the key", code=code
            )
        case GatewayClosing():
            return failed("the gateway is draining", _CLOSE_CODES[1001])
        case Malformed(kind):
            return failed(f"a message could not be read ({kind})", _CLOSE_CODES[1007])
        case Violation(text):
            return failed(text, "Report it to whoever runs the gateway")
    return failed(f"{type(inbound).__name__} out of turn", "Report it to whoever runs the gateway")


def _silence(text: str) -> str:
    if "HELLO" in text:
        return (
            "The socket opened, and then nobody spoke: this is no Connect gateway, or a proxy "
            "holds messages back"
        )
    return (
        "The apps are being synchronised, which can take a minute when many workers start: run "
        "it again, with a longer --timeout"
    )


def _closed(closed: SocketClosed) -> Finding:
    reason = clean(closed.reason)
    if reason in REMEDIES:
        remedy = REMEDIES[reason][:1].upper() + REMEDIES[reason][1:]
    else:
        remedy = _CLOSE_CODES.get(
            closed.code, "The reason comes from the API that synchronises apps: check the functions"
        )
    said = f"{closed.code} {reason}".strip()
    if closed.error:
        said += f" ({clean(closed.error)})"
    return failed(f"the gateway closed the connection: {said}", remedy, code=closed.code)


async def check_heartbeats(examination: Examination) -> Finding:
    dialog = examination.dialog
    if not examination.handshake:
        return skipped("a gateway answers heartbeats after a handshake only")
    assert dialog is not None
    seconds: list[float] = []
    while len(seconds) < ROUND_TRIPS:
        answer = await _round_trip(dialog, examination.timeout)
        if isinstance(answer, HeartbeatAcked):
            seconds.append(answer.round_trip)
        elif answer is None:
            return failed(
                f"heartbeat {len(seconds) + 1} of {ROUND_TRIPS} had no answer within "
                f"{examination.timeout:g} s",
                "A worker would give this connection up and reconnect again and again. Something "
                "between may hold messages back: look at proxies and load balancers",
                round_trips=seconds,
            )
        else:
            return _unready(answer)
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return Finding(
        f"{ROUND_TRIPS} round trips: min {low * 1000:.1f}, median {middle * 1000:.1f}, "
        f"max {high * 1000:.1f} ms",
        data={"round_trips": seconds},
    )


async def _round_trip(dialog: Dialog, timeout: float) -> Inbound | Ended | None:
    """HeartbeatAcked, what came instead, or None for silence."""
    begun = time.monotonic()
    # A new monitor asks immediately; a worker's waits for its interval.
    dialog.generation.heartbeat = HeartbeatMonitor(timeout, begun)
    dialog.tick()
    while (inbound := await dialog.next(begun + timeout - time.monotonic())) != "silence":
        # A request cannot come after the pause. If one does, it goes to another worker, because
        # nobody acknowledges it here.
        if inbound is not None and not isinstance(inbound, RequestArrived):
            return inbound
    return None


async def check_close(examination: Examination) -> Finding:
    session = examination.session
    assert session is not None
    if session.closed is not None:
        return skipped("the connection has ended already")
    begun = time.monotonic()
    session.close(CLOSE_NORMAL, REASON_WORKER_SHUTDOWN)
    while session.closed is None:
        if await session.next(begun + examination.timeout - time.monotonic()) is None:
            return failed(
                f"the gateway did not answer the close within {examination.timeout:g} s",
                "A worker does not wait for it; if it lasts, tell whoever runs the gateway",
            )
    code = session.closed.code
    text = f"{code} after {(time.monotonic() - begun) * 1000:.0f} ms"
    if code == CLOSE_ABNORMAL:
        remedy = "It does no harm; a proxy between may cut connections"
        return Finding(text, (Problem("ended without a close frame", remedy, fatal=False),))
    return Finding(text, data={"code": code})
