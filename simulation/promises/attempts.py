"""When a worker promises to begin its next attempt: the table of docs/reliability.md.

Counts what the core counts, from what it receives and shows: failures in a row, connections that
ended young, refusals of gateways that close.
"""

from collections.abc import Hashable
from typing import Final, NamedTuple

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.shutdown import Stage
from inngest_connect.protocol import connect_pb2 as pb

from .connections import ConnectionPromises, Line
from .keys import Keys
from .limits import ROUNDING
from .watch import Watch

SCHEDULE: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
JITTER: Final = 0.5
LONGEST_JITTER: Final = 60.0
FIRST_SPREAD: Final = 1.0
SOON: Final = 1.0
"""Seconds within which the successor of a gateway that has closed is looked for."""
DRAIN_SPREAD: Final = 2.0
"""Seconds within which the successor of a gateway that drains is looked for."""
OFFLINE: Final = 4
"""Failures that count at most while nothing outside the machine is reached."""
SLOW: Final = 9
"""Failures that a permanent refusal counts for."""
LOUD: Final = 3
"""Handshakes in a row that ended with 1011 before they count as a permanent refusal."""
EVIDENCE_SPREAD: Final = 2.0
EVIDENCE_SPACING: Final = 10.0
STOPPED: Final = 10.0
"""Seconds by which a Tick is late after the process was stopped."""
YOUNG_INTERVALS: Final = 2
LONGEST_EXCLUSION: Final = 16
CLOSING: Final = "connect_gateway_closing"
UNAUTHENTICATED: Final = "connect_authentication_failed"
TOO_LATE: Final = "connect_worker_hello_timeout"
_QUARTERS: Final = ("spread_first", "spread_second", "spread_third", "spread_last")
_CONNECTING_STAGES: Final = (Stage.RUNNING, Stage.SETTLING, Stage.FINISHING)


class Expected(NamedTuple):
    """What the next ``reconnecting`` event has to show, because of ``promise``."""

    promise: str
    least: float
    longest: float
    failures: int


class AttemptPromises:
    """Registered before ``connections``, which forgets what an input has ended."""

    def __init__(self, watch: Watch, keys: Keys) -> None:
        self._watch = watch
        self._keys = keys
        self.connections: ConnectionPromises
        self._failures = 0
        self._young = 0
        self._closing_refusals = 0
        self._internal_errors = 0
        self._authentication_closes = 0
        self._attempt: int | None = None
        self._attempt_key = 0
        self._gateway = ""
        self._must_exclude: set[str] = set()
        self._planned_at: float | None = None
        self._begun_at = 0.0
        self._expected: Expected | None = None
        self._api_away = False
        self._evidence_by: float | None = None
        self._due: float | None = None
        watch.on_input(inputs.StartSucceeded, self._named)
        watch.on_input(inputs.StartFailed, self._start_failed)
        watch.on_input(inputs.SocketClosed, self._socket_closed)
        watch.on_input(inputs.FlushSucceeded, self._flushed)
        watch.on_input(inputs.Tick, self._tick)
        watch.on_message(pb.GATEWAY_CLOSING, self._drained)
        watch.on_command(do.RequestStart, self._begun)
        watch.on_command(do.AbortSocket, self._aborted)
        watch.on_command(seen.Connected, self._connected)
        watch.on_command(seen.Reconnecting, self._planned)
        watch.on_command(seen.HeartbeatAnswered, self._heartbeat_answered)
        watch.on_turn_end(self._turn_ends)
        watch.on_missed("attempts", self._is_abandoned)

    # --- attempts that fail --------------------------------------------------------------------

    def _named(self, named: inputs.StartSucceeded) -> None:
        if named.generation == self._attempt:
            self._keys.accepted(self._attempt_key)
            self._api_away = False
            self._gateway = named.gateway_group

    def _start_failed(self, failed: inputs.StartFailed) -> None:
        if failed.generation != self._attempt:
            return
        self._attempt = None
        if failed.gateway_group:
            self._must_exclude.add(failed.gateway_group)
        else:
            self._api_away = failed.status != 429
            if failed.status in (401, 403):
                if self._keys.refused(self._attempt_key):
                    self._expected = Expected("other_key", 0.0, 0.0, self._failures)
                    return
            elif failed.status != 429:
                self._must_exclude.clear()
        self._failed(failed.retry_after, offline=failed.offline)

    def _socket_closed(self, closed: inputs.SocketClosed) -> None:
        if closed.generation == self.connections.serving:
            self._lost(closed.generation, closed.reason or closed.error or "")
        if closed.generation != self._attempt:
            return
        self._attempt_ended()
        if closed.code == 1011:
            self._internal_errors += 1
            if self._internal_errors >= LOUD:
                self._failures = max(self._failures, SLOW)
        elif closed.code == 1008:
            if closed.reason == UNAUTHENTICATED and self._authentication_closes < 2:
                self._authentication_closes += 1
                if self._authentication_closes == 2:
                    self._keys.refused(self._attempt_key)
            elif closed.reason != TOO_LATE:
                self._failures = max(self._failures, SLOW)
        if closed.reason == CLOSING:
            self._refused_by_closing_gateway()
        else:
            self._failed(offline=closed.offline)

    def _aborted(self, command: do.AbortSocket) -> None:
        if command.generation == self.connections.serving:
            self._lost(command.generation, "")
        if command.generation != self._attempt:
            return
        self._attempt_ended()
        # The stage may have changed in this turn, and then no other attempt need follow.
        if self._watch.stage in _CONNECTING_STAGES:
            self._failed()

    def _attempt_ended(self) -> None:
        self._attempt = None
        if self._gateway:
            self._must_exclude.add(self._gateway)

    def _refused_by_closing_gateway(self) -> None:
        self._closing_refusals += 1
        if self._closing_refusals > 1:
            self._failed()
        else:
            self._expected = Expected("delay_of_failure", 0.0, SOON, self._failures)

    def _failed(self, retry_after: float | None = None, *, offline: bool = False) -> None:
        if not offline or self._failures < OFFLINE:
            self._failures += 1
        least, longest = _bounds(min(self._failures, OFFLINE) if offline else self._failures)
        if retry_after is not None:
            self._watch.tally["retry_after"] += 1
            wished = min(retry_after, SCHEDULE[-1])
            least, longest = max(least, wished), max(longest, wished + min(wished, LONGEST_JITTER))
        self._expected = Expected("delay_of_failure", least, longest, self._failures)

    # --- connections that end ------------------------------------------------------------------

    def _drained(self, generation: int, data: bytes) -> None:
        if generation == self._attempt:
            self._attempt_ended()
            self._refused_by_closing_gateway()
        elif generation == self.connections.serving:
            line = self.connections.lines[generation]
            if not line.draining:
                self._must_exclude.add(line.gateway)
                if self._wants_connection():
                    self._replace(line, CLOSING, serves=True)

    def _lost(self, generation: int, reason: str) -> None:
        if self._attempt is None and self._planned_at is None and self._wants_connection():
            self._replace(self.connections.lines[generation], reason, serves=False)

    def _wants_connection(self) -> bool:
        return self._watch.closing_at is None or self._watch.core.requests.unfinished > 0

    def _replace(self, line: Line, reason: str, *, serves: bool) -> None:
        young = self._is_young(line)
        if young:
            self._must_exclude.add(line.gateway)
        else:
            self._failures = self._young = 0
        if self._young or reason != CLOSING:
            bounds = _bounds(self._young)
            self._expected = Expected("delay_of_loss", *bounds, self._failures)
        elif serves:
            # Not shown as reconnecting, because the worker serves meanwhile.
            self._watch.tally["delay_of_loss"] += 1
            self._plan(self._watch.now + DRAIN_SPREAD)
        else:
            self._expected = Expected("delay_of_loss", 0.0, SOON, self._failures)
        self._young += young
        self._failures = self._young

    def _is_young(self, line: Line) -> bool:
        return self._watch.now - line.ready_at < YOUNG_INTERVALS * max(line.interval, 1.0)

    def _heartbeat_answered(self, event: seen.HeartbeatAnswered) -> None:
        serving = self.connections.serving
        if serving is None or getattr(self._watch.input, "generation", None) != serving:
            return
        if not self._is_young(self.connections.lines[serving]):
            self._failures = self._young = 0

    # --- what is planned -----------------------------------------------------------------------

    def _planned(self, event: seen.Reconnecting) -> None:
        watch, expected = self._watch, self._expected
        if watch.stage not in _CONNECTING_STAGES:
            raise watch.broken("attempts", f"no attempt is needed in stage {watch.stage.value}")
        self._expected = None
        at = watch.now + event.delay
        if expected is not None:
            self._judge(event, expected)
        else:
            self._judge_evidence(event, at)
        self._plan(at)

    def _judge(self, event: seen.Reconnecting, expected: Expected) -> None:
        watch, (promise, least, longest, failures) = self._watch, expected
        watch.tally[promise] += 1
        if event.failures != failures:
            raise watch.broken(promise, f"{event.failures} failures are shown, {failures} seen")
        if not least - ROUNDING <= event.delay <= longest + ROUNDING:
            raise watch.broken(promise, f"{event.delay:.3f} s, not {least:g} to {longest:g}")
        if longest > least:
            quarter = int(4 * (event.delay - least) / (longest - least))
            watch.tally[_QUARTERS[max(0, min(quarter, 3))]] += 1

    def _judge_evidence(self, event: seen.Reconnecting, at: float) -> None:
        watch, by = self._watch, self._evidence_by
        if by is None or self._planned_at is None or at >= self._planned_at:
            raise watch.broken("evidence", f"nothing has brought forward: {event}")
        if at < by - EVIDENCE_SPREAD - ROUNDING:
            raise watch.broken("evidence", f"planned for {at:.3f}, too early for {by:.3f}")

    def _plan(self, at: float) -> None:
        self._planned_at = at
        self._watch.limits.set(("attempts",), at)

    def _is_abandoned(self, key: Hashable) -> bool:
        if self._watch.core.shutdown.stage in _CONNECTING_STAGES:
            return False
        self._planned_at = None
        self._watch.limits.clear(key)
        return True

    def _begun(self, command: do.RequestStart) -> None:
        watch = self._watch
        watch.tally["attempts"] += 1
        if watch.stage not in _CONNECTING_STAGES:
            raise watch.broken("attempts", f"no connection is needed in stage {watch.stage.value}")
        if self._must_exclude:
            watch.tally["excludes"] += 1
        excluded = set(command.exclude_gateways)
        if excluded != self._must_exclude and len(excluded) < LONGEST_EXCLUSION:
            text = f"{sorted(excluded)} are excluded, not {sorted(self._must_exclude)}"
            raise watch.broken("excludes", text)
        self._keys.check(command.key, "an attempt")
        watch.limits.clear(("attempts",))
        self._planned_at = None
        self._begun_at = watch.now
        self._attempt, self._attempt_key, self._gateway = command.generation, command.key, ""

    def _connected(self, event: seen.Connected) -> None:
        self._attempt = None
        self._failures = self._young
        self._closing_refusals = self._internal_errors = self._authentication_closes = 0
        self._must_exclude.clear()

    # --- evidence ------------------------------------------------------------------------------

    def _flushed(self, flushed: inputs.FlushSucceeded) -> None:
        away, self._api_away = self._api_away, False
        if away and self._planned_at is not None:
            self._watch.tally["evidence"] += 1
            not_before = max(self._watch.now, self._begun_at + EVIDENCE_SPACING)
            self._evidence_by = not_before + EVIDENCE_SPREAD

    def _tick(self, tick: inputs.Tick) -> None:
        now, planned_at = self._watch.now, self._planned_at
        if self._due is not None and now - self._due >= STOPPED:
            # Also for what this turn plans, because an attempt that was under way has failed.
            self._evidence_by = now + EVIDENCE_SPREAD
            self._watch.tally["continues"] += planned_at is not None and now < planned_at

    def _turn_ends(self) -> None:
        watch = self._watch
        self._due = watch.due
        by, self._evidence_by = self._evidence_by, None
        planned_at = self._planned_at
        connects = watch.core.shutdown.stage in _CONNECTING_STAGES
        if connects and by is not None and planned_at is not None and planned_at > by + ROUNDING:
            raise watch.broken("evidence", f"planned for {planned_at:.3f}, not by {by:.3f}")
        expected, self._expected = self._expected, None
        if expected is not None and watch.closing_at is None:
            raise watch.broken(expected.promise, "no attempt is planned")


def _bounds(failures: int) -> tuple[float, float]:
    seconds = SCHEDULE[min(failures, len(SCHEDULE) - 1)]
    if not seconds:
        return 0.0, FIRST_SPREAD
    jitter = min(JITTER * seconds, LONGEST_JITTER)
    return seconds - jitter, seconds + jitter
