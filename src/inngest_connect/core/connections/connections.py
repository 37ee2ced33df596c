"""Connections: the connections of one worker, as generations.

At most one generation serves (``current``: ACTIVE or DRAINING), at most one is being made
(``attempt``: STARTING to AWAITING_READY), and those that were replaced or are being closed are kept
until they end (``closing``). When an attempt begins is decided in ``attempts``, what a refusal
means in ``refusals``; what the changes mean for requests, leases, replies and the worker's state is
decided in ``worker_core``.
"""

from collections.abc import Callable
from typing import Final

from ...protocol import CLOSE_ABNORMAL, REASON_GATEWAY_CLOSING
from ..commands import AbortSocket, CloseSocket, OpenSocket, RequestStart
from ..deadlines import earliest
from ..events import Disconnected, WebSocketClosed, WebSocketOpened
from ..inputs import StartSucceeded
from ..outbox import Outbox
from ..retry import RetryStrategy
from ..settings import CoreSettings
from ..signing_keys import SigningKeys
from ..wire.remote_text import clean
from .attempts import Attempts
from .generation import Credentials, Generation
from .phases import Phase
from .refusals import Refusals

# Why a drained connection ends that waits for acknowledgements when another drain begins.
GAVE_WAY: Final = "gave way to the next connection"

LIVED_INTERVALS: Final = 2
# A connection is young until it has lived for two heartbeat intervals of at least this many
# seconds: with an interval of milliseconds every connection would have lived.
SHORTEST_LIVED_INTERVAL: Final = 1.0


class Connections:
    """Owns the generations. Times are monotonic seconds."""

    def __init__(
        self,
        settings: CoreSettings,
        keys: SigningKeys,
        retry: RetryStrategy,
        random: Callable[[], float],
        outbox: Outbox,
    ) -> None:
        self.current: Generation | None = None
        self.attempt: Generation | None = None
        self.closing: dict[int, Generation] = {}
        self.ever_ready = False
        self.last_connection_id = ""
        self.attempts = Attempts(retry, random, outbox)
        self.refusals = Refusals(self.attempts, keys, settings.api_origin, outbox)
        self._settings = settings
        self._keys = keys
        self._outbox = outbox
        self._last_number = 0

    def get(self, number: int) -> Generation | None:
        """The generation with this number, None when it has ended."""
        current, attempt = self.current, self.attempt
        if current is not None and current.number == number:
            return current
        if attempt is not None and attempt.number == number:
            return attempt
        return self.closing.get(number)

    def generations(self) -> list[Generation]:
        """Every generation that has not ended, the serving one first."""
        first = [g for g in (self.current, self.attempt) if g is not None]
        return first + list(self.closing.values())

    # --- attempts ---------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Start an attempt: ask the API for a gateway."""
        self.attempts.begun(now)
        if self.current is not None:
            # At most two sockets. During a drain the serving one and the attempt are two already,
            # so one that is still closing gives way; its replies are in the buffer.
            for generation in list(self.closing.values()):
                self._outbox.put(AbortSocket(generation.number))
                self.ended(generation, CLOSE_ABNORMAL, GAVE_WAY, now, closing=False)
        # Numbers are never used again. An input that carries an old one finds nothing (``get``), so
        # a call, a dial or a socket that was aborted needs no other protection against its echoes.
        self._last_number += 1
        key = self._keys.current
        self.attempt = Generation(self._last_number, key, self._settings, self._outbox, now)
        excluded = tuple(self.attempts.excluded)
        self._outbox.put(RequestStart(self._last_number, excluded, key))

    def dial(self, attempt: Generation, named: StartSucceeded, now: float) -> None:
        """The API has named a gateway: open a WebSocket to it."""
        self._keys.accepted(attempt.key)
        self.attempts.api_answered()
        # The id is cleaned because it is shown; the tokens are sent back as they came.
        credentials = Credentials(session_token=named.session_token, sync_token=named.sync_token)
        attempt.named(clean(named.connection_id), named.gateway_group, credentials, now)
        attempt.gateway_url = clean(named.gateway_endpoint.partition("?")[0])
        self._outbox.put(OpenSocket(attempt.number, named.gateway_endpoint))

    def opened(self, attempt: Generation, now: float) -> None:
        """The WebSocket is open: the gateway speaks first."""
        attempt.enter(Phase.AWAITING_HELLO, now)
        self._outbox.put(WebSocketOpened(attempt.connection_id, attempt.gateway_group))

    def give_up_attempt(self, now: float) -> None:
        """The attempt has failed, so ask for another gateway next time. Plans nothing."""
        if self.attempt is not None:
            if self.attempt.gateway_group:
                self.attempts.exclude(self.attempt.gateway_group)
            self.retire(self.attempt, now)

    def abandon_attempt(self, now: float) -> None:
        """Give up connecting, permanently."""
        self.attempts.abandon()
        if self.attempt is not None:
            self._outbox.put(AbortSocket(self.attempt.number))
            self.retire(self.attempt, now)

    # --- the serving connection ------------------------------------------------------------

    def ready(self, now: float) -> Generation | None:
        """The attempt has become the serving connection. Returns the one that it replaces."""
        assert self.attempt is not None
        replaced, self.current, self.attempt = self.current, self.attempt, None
        # From here on inputs of both generations are expected: the old one still brings
        # acknowledgements, the new one requests.
        self.ever_ready = True
        self.last_connection_id = self.current.connection_id
        self.refusals.ended()
        self.attempts.ready()
        if replaced is not None:
            replaced.enter(Phase.REPLACED, now)
            self.closing[replaced.number] = replaced
        return replaced

    def heartbeat_answered(self, generation: Generation, now: float) -> None:
        """The gateway answered a heartbeat. A connection that has lived ends a bad series."""
        if generation is self.current and not self._young(generation, now):
            self.attempts.lived()

    def replace(self, generation: Generation, reason: str, now: float) -> None:
        """The serving connection ended or is drained: plan the attempt that replaces it."""
        young = self._young(generation, now)
        if young:
            self.attempts.exclude(generation.gateway_group)
        # "Still serves" is a drain: requests are answered while the next connection is made.
        self.attempts.lost(
            reason or "connection lost",
            now,
            young=young,
            going_away=reason == REASON_GATEWAY_CLOSING,
            still_serves=generation is self.current,
        )

    def _young(self, generation: Generation, now: float) -> bool:
        interval = generation.heartbeat.interval if generation.heartbeat is not None else 0.0
        lived = LIVED_INTERVALS * max(interval, SHORTEST_LIVED_INTERVAL)
        return now - generation.ready_at < lived

    # --- ends -------------------------------------------------------------------------------

    def close(self, generation: Generation, code: int, reason: str, now: float) -> None:
        """Start the closing handshake (RFC 6455 section 7.1.2), once."""
        if generation.phase is Phase.CLOSING:
            return  # its close frame was sent, and its time limit runs
        if self.current is generation:
            self.current = None
        generation.enter(Phase.CLOSING, now)
        self.closing[generation.number] = generation
        self._outbox.put(CloseSocket(generation.number, code, reason))

    def ended(
        self, generation: Generation, code: int, reason: str, now: float, *, closing: bool
    ) -> None:
        """A socket has ended. ``closing``: the worker shuts down, so that this was expected."""
        if generation.opened:
            self._outbox.put(WebSocketClosed(generation.connection_id, code, reason))
        if generation is self.attempt:
            return
        # A loss is unexpected only on the connection that serves while the worker is not being
        # closed.
        expected = closing or generation is not self.current
        self.retire(generation, now)
        self._outbox.put(
            Disconnected(generation.connection_id, generation.gateway_group, code, reason, expected)
        )

    def retire(self, generation: Generation, now: float) -> None:
        """Whatever still arrives on it is ignored."""
        generation.enter(Phase.RETIRED, now)
        self.closing.pop(generation.number, None)
        if self.current is generation:
            self.current = None
        if self.attempt is generation:
            self.attempt = None

    def next_deadline(self) -> float | None:
        """When an attempt begins, or a time limit of a connection passes."""
        current, attempt = self.current, self.attempt
        return earliest(
            self.attempts.retry_at,
            self.attempts.look_at() if current is None else None,
            current.next_deadline() if current is not None else None,
            attempt.next_deadline() if attempt is not None else None,
            *[generation.next_deadline() for generation in self.closing.values()],
        )
