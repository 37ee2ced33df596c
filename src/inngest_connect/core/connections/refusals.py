"""Refusals: what an answer of the API or the end of a handshake means for the next attempt.

Most failures pass by themselves, and the schedule of attempts is enough. Some do not: a key that is
not accepted, a configuration that the server refuses. Those are reported with a remedy, try the
other key, or go to the slow end of the schedule. See docs/protocol.md#refusals.
"""

from typing import Final

from ...protocol import (
    CLOSE_INTERNAL_ERROR,
    CLOSE_POLICY_VIOLATION,
    REASON_AUTHENTICATION_FAILED,
)
from ..inputs import StartFailed
from ..outbox import Outbox
from ..signing_keys import SigningKeys
from .attempts import Attempts

# Handshakes in a row that ended with 1011 before the cause is looked for on this side.
LOUD_AFTER: Final = 3

# Closes for a failed authentication before the other key is tried. The first can be a session token
# that expired on a slow way.
AUTHENTICATION_CLOSES: Final = 2

REMEDIES: Final = {
    "connect_worker_hello_invalid_payload": "an app without functions, or an empty instance_id",
    "connect_worker_hello_invalid_msg": "a proxy that changes messages, or a bug in this package",
    "connect_too_many_apps_per_connection": "pass fewer apps to one connect() call (the default "
    "limit of a plan is 10)",
    "connect_worker_hello_timeout": "WORKER_CONNECT took longer than 5 s to reach the gateway: a "
    "slow network, or a machine without time for this process",
    REASON_AUTHENTICATION_FAILED: "check INNGEST_SIGNING_KEY and INNGEST_ENV",
}


class Refusals:
    """Counts refusals in a row, and reports each with its remedy."""

    def __init__(
        self, attempts: Attempts, keys: SigningKeys, api_origin: str, outbox: Outbox
    ) -> None:
        self._attempts = attempts
        self._keys = keys
        self._api_origin = api_origin
        self._outbox = outbox
        self._internal_errors = 0
        self._authentication_closes = 0

    def ended(self) -> None:
        """A gateway accepted this worker."""
        self._internal_errors = self._authentication_closes = 0

    def by_api(self, failed: StartFailed, key: int) -> bool:
        """Judge a failed call. Returns whether to try another key than ``key`` immediately."""
        attempts, outbox = self._attempts, self._outbox
        # The API answered, and the address that it named may not be dialed (``gateway_endpoint``).
        # Another gateway can have a better one.
        if failed.gateway_group:
            attempts.exclude(failed.gateway_group)
            outbox.error("gateway_endpoint_refused", failed.message)
            return False
        # From now on an answer to a flush is evidence that the API is back.
        attempts.api_failed(failed.status)
        if failed.status in (401, 403):
            outbox.error("authentication_failed", failed.message)
            return self._keys.refused(key)
        if failed.status == 429:
            outbox.error(
                "rate_limited",
                f"the API refuses another connection (HTTP 429): {failed.message}. "
                "The plan's limit of connections is reached, or calls come too fast",
            )
            return False
        # "No gateway found" can be our own doing when everything is excluded.
        attempts.exclude_none()
        outbox.error("start_failed", f"{self._api_origin}: {failed.message}")
        return False

    def by_gateway(self, code: int, reason: str, key: int) -> None:
        """Judge how a handshake that used ``key`` ended."""
        if code == CLOSE_INTERNAL_ERROR:
            # 1011 is the code for the gateway's own errors, which pass, and for a configuration
            # that it cannot process, which does not. Repetition is the only difference.
            self._internal_errors += 1
            if self._internal_errors >= LOUD_AFTER:
                self._attempts.slow_down()
                self._outbox.error(
                    "handshake_refused",
                    f"the gateway has refused {self._internal_errors} handshakes in a row with "
                    f"1011 {reason}. It does so for wrong function configurations too: check the "
                    "functions of every app, then Inngest's status; inngest-connect doctor shows "
                    "more",
                )
        elif code == CLOSE_POLICY_VIOLATION:
            # Of the reasons for 1008 two can pass by themselves: a session token that was too old,
            # and a WORKER_CONNECT that came too late. The others need a change by the operator.
            refused = reason == REASON_AUTHENTICATION_FAILED
            if refused and self._authentication_closes < AUTHENTICATION_CLOSES:
                self._authentication_closes += 1
                if self._authentication_closes == AUTHENTICATION_CLOSES:
                    self._keys.refused(key)
            elif reason != "connect_worker_hello_timeout":
                self._attempts.slow_down()
            remedy = REMEDIES.get(reason, "the reason comes from the API that synchronizes apps")
            self._outbox.error(
                "handshake_refused",
                f"the gateway refused this worker (1008 {reason or 'without a reason'}): {remedy}; "
                "inngest-connect doctor shows more",
            )
