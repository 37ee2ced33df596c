"""Checks 10 to 12: the handshake, three heartbeats, and the close."""

import statistics
import time
from typing import Final

from ...core.connections.inbound import GatewayClosing, Malformed, SyncFailed, Violation
from ...core.connections.refusals import REMEDIES
from ...core.inputs import SocketClosed
from ...protocol import CLOSE_ABNORMAL
from .conversation import Ended
from .examination import Examination
from .findings import Finding, Problem, failed, skipped

HANDSHAKE_PATIENCE: Final = 6.0
"""Times the timeout: a first synchronization of the apps takes tens of seconds."""

ROUND_TRIPS: Final = 3

_CLOSE_CODES: Final = {
    1001: "The gateway is shutting down, as during an update of Inngest: run the doctor again",
    1006: "Something on the way ended the connection: a proxy or load balancer that does not "
    "support WebSockets, or a gateway that was killed. Run the doctor again",
    1007: "Something on the way changes messages: look for a proxy that inspects them",
    1009: "A message was too large: put fewer functions into one app, or report this",
    1011: "Inngest answers wrong function configurations with this code too: check the functions "
    "of every app, then Inngest's status page",
}
_OPERATOR: Final = "Report it to the operator of the gateway"


async def check_handshake(examination: Examination) -> Finding:
    """Is skipped unless it was asked for: it registers the apps."""
    if not examination.handshake:
        return skipped("it would register functions with Inngest: --connect does it")
    conversation, answer = examination.conversation, examination.answer
    assert conversation is not None
    assert answer is not None
    begun = time.monotonic()
    agreed = await conversation.shake_hands(
        answer,
        hello_timeout=examination.timeout,
        ready_timeout=HANDSHAKE_PATIENCE * examination.timeout,
    )
    if not isinstance(agreed, tuple):
        return _unready(agreed)
    intervals, ready = agreed
    shown = ", ".join(f"{name} {value:g} s" for name, value in intervals.items())
    remedy = f"{_OPERATOR}; the worker copes"
    return Finding(
        f"ready after {(time.monotonic() - begun) * 1000:.0f} ms; {shown}",
        tuple(Problem(text, remedy, fatal=False) for text in ready.complaints),
        data={"intervals": intervals},
    )


async def check_heartbeats(examination: Examination) -> Finding:
    """A gateway that does not answer heartbeats would lose the worker again and again."""
    if not examination.handshake:
        return skipped("a gateway answers heartbeats only after a handshake")
    assert examination.conversation is not None
    seconds: list[float] = []
    while len(seconds) < ROUND_TRIPS:
        answer = await examination.conversation.beat(examination.timeout)
        if answer is None:
            return failed(
                f"heartbeat {len(seconds) + 1} of {ROUND_TRIPS} had no answer within "
                f"{examination.timeout:g} s",
                "A worker would give this connection up and reconnect again and again. Something "
                "on the way may hold messages back: look at proxies and load balancers",
                round_trips=seconds,
            )
        if not isinstance(answer, float):
            return _unready(answer)
        seconds.append(answer)
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return Finding(
        f"{ROUND_TRIPS} round trips: min {low * 1000:.1f}, median {middle * 1000:.1f}, "
        f"max {high * 1000:.1f} ms",
        data={"round_trips": seconds},
    )


async def check_close(examination: Examination) -> Finding:
    """The closing handshake, as at the end of a worker."""
    conversation = examination.conversation
    assert conversation is not None
    if conversation.closed is not None:
        return skipped("the connection has ended already")
    begun = time.monotonic()
    closed = await conversation.close(examination.timeout)
    if closed is None:
        return failed(
            f"the gateway did not answer the close within {examination.timeout:g} s",
            f"A worker does not wait for it. If it lasts: {_OPERATOR}",
        )
    text = f"{closed.code} after {(time.monotonic() - begun) * 1000:.0f} ms"
    if closed.code == CLOSE_ABNORMAL:
        remedy = "It does no harm; a proxy on the way may cut connections"
        return Finding(text, (Problem("ended without a close frame", remedy, fatal=False),))
    return Finding(text, data={"code": closed.code})


def _unready(ended: Ended) -> Finding:
    match ended:
        case str():
            if "HELLO" in ended:
                return failed(
                    ended,
                    "The socket opened, and then no message came: this is not a Connect gateway, "
                    "or a proxy holds messages back",
                )
            return failed(
                ended,
                "The apps are being synchronized, which can take a minute when many workers "
                "start: run it again, with a longer --timeout",
            )
        case SocketClosed(code=code, reason=reason, error=error):
            remedy = REMEDIES.get(reason) or _CLOSE_CODES.get(
                code, "The reason comes from the API that synchronizes apps: check the functions"
            )
            text = f"{code} {reason}".strip() + (f" ({error})" if error else "")
            return failed(
                f"the gateway closed the connection: {text}",
                remedy[:1].upper() + remedy[1:],
                code=code,
            )
        case SyncFailed(code, message):
            text = f"the gateway could not synchronize the apps: {code} {message}".rstrip()
            remedy = "Correct what the text names in the apps' functions, or the key"
            return failed(text, remedy, code=code)
        case GatewayClosing():
            return failed("the gateway is draining", _CLOSE_CODES[1001])
        case Malformed(kind):
            return failed(f"a message could not be read ({kind})", _CLOSE_CODES[1007])
        case Violation(text):
            return failed(text, _OPERATOR)
    return failed(f"{type(ended).__name__} was not expected", _OPERATOR)
