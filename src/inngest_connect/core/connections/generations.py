"""Connections: the sockets of one worker, as generations, and the attempts to get new ones.

At most one generation serves (``current``: ACTIVE or DRAINING), at most one is being made
(``attempt``: HANDSHAKING), and one that was replaced may still be closing. Every event carries its
generation's number, so what a dying socket still says cannot touch the new one.

When an attempt begins is decided in ``attempts``. An answer that will not change by itself
(configuration refused) goes to the slow end of the schedule, and is reported.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...protocol import (
    CLOSE_INTERNAL_ERROR,
    CLOSE_POLICY_VIOLATION,
    REASON_AUTHENTICATION_FAILED,
    REASON_GATEWAY_CLOSING,
)
from ..commands import AbortSocket, CloseSocket, Command, OpenSocket, RequestStart
from ..deadlines import earliest
from ..events import ErrorOccurred
from ..inputs import StartFailed, StartSucceeded
from ..retry import RetryStrategy
from ..settings import CoreSettings, WorkerIdentity
from ..signing_keys import SigningKeys
from ..wire.remote_text import clean
from .attempts import Attempts
from .message_handler import Credentials, MessageHandler
from .phases import Phase

LOUD_AFTER: Final = 3
"""Handshakes in a row that ended with 1011 before it is called what it is."""

LIVED_INTERVALS: Final = 2
SHORTEST_LIVED_INTERVAL: Final = 1.0
"""A connection is young until it has lived for two heartbeat intervals of at least this many
seconds: with an interval of milliseconds every connection would have lived."""

REMEDIES: Final = {
    "connect_worker_hello_invalid_payload": "an app without functions, or an empty instance_id",
    "connect_worker_hello_invalid_msg": "a proxy that changes messages, or a bug in this package",
    "connect_too_many_apps_per_connection": "pass fewer apps to one connect() call (the default "
    "limit of a plan is 10)",
    "connect_worker_hello_timeout": "WORKER_CONNECT took longer than 5 s to reach the gateway: a "
    "slow network, or a machine without time for this process",
    REASON_AUTHENTICATION_FAILED: "check INNGEST_SIGNING_KEY and INNGEST_ENV",
}


@dataclass(slots=True)
class Generation:
    """One socket and the attempt that led to it. Times are monotonic seconds."""

    number: int
    handler: MessageHandler
    begun_at: float
    key: int
    connection_id: str = ""
    gateway_group: str = ""
    opened: bool = False
    ready_at: float = 0.0
    paused: bool = False
    close_sent: bool = False
    close_deadline: float | None = None
    """When to stop waiting: for outstanding acknowledgements, then for the peer's close frame."""

    @property
    def phase(self) -> Phase:
        return self.handler.phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self.handler.phase = phase


class Connections:
    """Owns the generations. Decides when and how to connect; the worker core decides why."""

    def __init__(
        self,
        identity: WorkerIdentity,
        settings: CoreSettings,
        keys: SigningKeys,
        retry: RetryStrategy,
        random: Callable[[], float],
    ) -> None:
        self.current: Generation | None = None
        self.attempt: Generation | None = None
        self.closing: dict[int, Generation] = {}
        self.ever_ready = False
        self.attempts = Attempts(retry, random)
        self._internal_errors = 0
        self._authentication_closes = 0
        self.last_connection_id = ""
        self._identity = identity
        self._settings = settings
        self._keys = keys
        self._last_number = 0

    def get(self, number: int) -> Generation | None:
        """The living generation with this number."""
        current, attempt = self.current, self.attempt
        if current is not None and current.number == number:
            return current
        if attempt is not None and attempt.number == number:
            return attempt
        return self.closing.get(number)

    def living(self) -> list[Generation]:
        """Every generation that can still say something, the serving one first."""
        first = [g for g in (self.current, self.attempt) if g is not None]
        return first + list(self.closing.values())

    # --- attempts --------------------------------------------------------------------------

    def begin(self, now: float, out: list[Command]) -> None:
        """Start an attempt: ask the API for a gateway."""
        self.attempts.begun(now)
        self._make_room(out)
        self._last_number += 1
        handler = MessageHandler(self._last_number, self._identity, self._settings)
        handler.api_called(now)
        generation = Generation(self._last_number, handler, now, self._keys.current)
        self.attempt = generation
        out.append(RequestStart(generation.number, tuple(self.attempts.excluded), generation.key))

    def _make_room(self, out: list[Command]) -> None:
        """At most two sockets: one that is still closing gives way to a new attempt."""
        if self.current is not None:
            for generation in list(self.closing.values()):
                self.retire(generation)
                out.append(AbortSocket(generation.number))

    def start_succeeded(self, event: StartSucceeded, now: float, out: list[Command]) -> None:
        """The API has named a gateway for the attempt: dial it."""
        generation = self.attempt
        assert generation is not None
        self._keys.accepted(generation.key)
        self.attempts.api_answered()
        generation.connection_id = clean(event.connection_id)
        generation.gateway_group = event.gateway_group
        credentials = Credentials(
            connection_id=event.connection_id,
            session_token=event.session_token,
            sync_token=event.sync_token,
        )
        generation.handler.dialing(credentials, now)
        out.append(OpenSocket(generation.number, event.gateway_endpoint))

    def start_failed(self, event: StartFailed, out: list[Command]) -> bool:
        """Judge an API answer. Returns whether to try another key, without a delay."""
        if event.gateway_group:
            self.attempts.exclude(event.gateway_group)
            out.append(ErrorOccurred("gateway_endpoint_refused", event.message))
            return False
        self.attempts.api_failed(event.status)
        if event.status in (401, 403):
            assert self.attempt is not None
            out.append(ErrorOccurred("authentication_failed", event.message))
            return self._keys.refused(self.attempt.key)
        if event.status == 429:
            text = (
                f"the API refuses another connection (HTTP 429): {event.message}. "
                "The plan's limit of connections is reached, or calls come too fast"
            )
            out.append(ErrorOccurred("rate_limited", text))
            return False
        # "No gateway found" can be our own doing when everything is excluded.
        self.attempts.excluded.clear()
        origin = self._settings.api_origin
        out.append(ErrorOccurred("start_failed", f"{origin}: {event.message}"))
        return False

    def handshake_closed(self, code: int, reason: str, out: list[Command]) -> None:
        """Judge how a handshake ended."""
        if code == CLOSE_INTERNAL_ERROR:
            self._internal_errors += 1
            if self._internal_errors >= LOUD_AFTER:
                self.attempts.slow_down()
                text = (
                    f"the gateway has refused {self._internal_errors} handshakes in a row with "
                    f"1011 {reason}. It says so for wrong function configurations too: check the "
                    "functions of every app, then Inngest's status"
                )
                out.append(ErrorOccurred("handshake_refused", text))
        elif code == CLOSE_POLICY_VIOLATION:
            self._policy_violation(reason, out)

    def _policy_violation(self, reason: str, out: list[Command]) -> None:
        if reason == REASON_AUTHENTICATION_FAILED and self._authentication_closes < 2:
            self._authentication_closes += 1
            if self._authentication_closes == 2:
                # The key that this attempt used, which may be another than the current one by now.
                key = self.attempt.key if self.attempt is not None else self._keys.current
                self._keys.refused(key)
        elif reason != "connect_worker_hello_timeout":
            self.attempts.slow_down()
        remedy = REMEDIES.get(reason, "the reason comes from the API that synchronises apps")
        text = f"the gateway refused this worker (1008 {reason or 'without a reason'}): {remedy}"
        out.append(ErrorOccurred("handshake_refused", text))

    def give_up_attempt(self) -> None:
        """The attempt is over; the caller plans the next one."""
        if self.attempt is not None:
            if self.attempt.gateway_group:
                self.attempts.exclude(self.attempt.gateway_group)
            self.retire(self.attempt)

    # --- the serving connection ------------------------------------------------------------

    def ready(self, now: float) -> tuple[Generation, Generation | None]:
        """The attempt has become the serving connection; returns it and the one it replaces."""
        assert self.attempt is not None
        replaced, self.current, self.attempt = self.current, self.attempt, None
        self.ever_ready = True
        self.current.ready_at = now
        self._internal_errors = self._authentication_closes = 0
        self.attempts.ready()
        self.last_connection_id = self.current.connection_id
        if replaced is not None:
            replaced.phase = Phase.CLOSING
            replaced.close_deadline = now + self._settings.drain_ack_timeout
            self.closing[replaced.number] = replaced
        return self.current, replaced

    def answered(self, generation: Generation, now: float) -> None:
        """The gateway answered a heartbeat."""
        if generation is self.current and not self._young(generation, now):
            self.attempts.lived()

    def replace(self, generation: Generation, reason: str, now: float, out: list[Command]) -> None:
        """The serving connection ended or is drained: plan the attempt that replaces it."""
        young = self._young(generation, now)
        if young:
            self.attempts.exclude(generation.gateway_group)
        self.attempts.lost(
            reason or "connection lost",
            now,
            out,
            young=young,
            going_away=reason == REASON_GATEWAY_CLOSING,
            still_serves=generation is self.current,
        )

    def _young(self, generation: Generation, now: float) -> bool:
        heartbeat = generation.handler.heartbeat
        interval = heartbeat.interval if heartbeat is not None else 0.0
        lived = LIVED_INTERVALS * max(interval, SHORTEST_LIVED_INTERVAL)
        return now - generation.ready_at < lived

    def close(
        self, generation: Generation, code: int, reason: str, now: float, out: list[Command]
    ) -> None:
        """Start the closing handshake, with a limit."""
        if generation.close_sent:
            return
        if self.current is generation:
            self.current = None
        generation.phase = Phase.CLOSING
        generation.close_sent = True
        generation.close_deadline = now + self._settings.close_timeout
        self.closing[generation.number] = generation
        out.append(CloseSocket(generation.number, code, reason))

    def retire(self, generation: Generation) -> None:
        """Whatever it still says is ignored from now on."""
        generation.phase = Phase.RETIRED
        self.closing.pop(generation.number, None)
        if self.current is generation:
            self.current = None
        if self.attempt is generation:
            self.attempt = None

    def abandon_attempt(self, out: list[Command]) -> None:
        """Give up connecting, permanently."""
        self.attempts.abandon()
        if self.attempt is not None:
            out.append(AbortSocket(self.attempt.number))
            self.retire(self.attempt)

    def next_deadline(self) -> float | None:
        current, attempt = self.current, self.attempt
        return earliest(
            self.attempts.retry_at,
            self.attempts.look_at() if current is None else None,
            current.handler.next_deadline() if current is not None else None,
            attempt.handler.next_deadline() if attempt is not None else None,
            *[generation.close_deadline for generation in self.closing.values()],
        )
