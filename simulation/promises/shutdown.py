"""What a worker promises about its beginning and its end."""

from typing import Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.errors import StartupTimeout, WorkAbandoned
from inngest_connect.protocol import connect_pb2 as pb

from .connections import ConnectionPromises
from .limits import ROUNDING
from .replies import ReplyPromises
from .requests import RequestPromises
from .watch import Watch

FIRST_NOTICE: Final = 0.2
NOTICE_INTERVAL: Final = 30.0


class ShutdownPromises:
    """Its end is judged by ``finished``, which the command Finished causes."""

    def __init__(
        self,
        watch: Watch,
        connections: ConnectionPromises,
        requests: RequestPromises,
        replies: ReplyPromises,
    ) -> None:
        self._watch = watch
        self._connections = connections
        self._requests = requests
        self._replies = replies
        self._ever_connected = False
        self._forced_at: float | None = None
        self._started = False
        self._paused: set[int] = set()
        self._sockets: set[int] = set()
        """Generations that have an API call, a dial or a socket."""
        self._running: dict[str, None] = {}
        self._undelivered: set[str] = set()
        self._lost: set[str] = set()
        self._cancelled: set[str] = set()
        self._named = False
        """What shutdown_timeout has given up was reported."""
        watch.on_input(inputs.Started, self._started_now)
        watch.on_command(seen.Connected, self._connected)
        watch.on_command(seen.StateChanged, self._state_changed)
        watch.on_input(inputs.AbortRequested, lambda abort: self._force())
        watch.on_command(do.RequestStart, lambda start: self._sockets.add(start.generation))
        watch.on_input(inputs.StartFailed, lambda fail: self._sockets.discard(fail.generation))
        watch.on_input(inputs.SocketClosed, lambda end: self._sockets.discard(end.generation))
        watch.on_command(do.AbortSocket, lambda end: self._sockets.discard(end.generation))
        watch.on_command(do.CloseSocket, self._closes)
        watch.on_sent(pb.WORKER_PAUSE, lambda generation, data: self._paused.add(generation))
        watch.on_command(do.Execute, lambda run: self._runs(run.request.request_id))
        watch.on_input(inputs.ExecutionFinished, self._returned)
        watch.on_command(do.CancelExecution, lambda end: self._cancelled.add(end.request_id))
        watch.on_command(seen.LeaseLost, lambda event: self._lost.add(event.request_id))
        watch.on_command(seen.ErrorOccurred, self._error)
        watch.on_command(do.Finished, self._finished)
        watch.on_turn_end(self._turn_ends)

    # --- the beginning -------------------------------------------------------------------------

    def _started_now(self, started: inputs.Started) -> None:
        limit = self._watch.settings.startup_timeout
        if limit is not None:
            self._watch.limits.set(("startup_timeout",), self._watch.now + limit)

    def _connected(self, event: seen.Connected) -> None:
        self._ever_connected = True
        self._watch.limits.clear(("startup_timeout",))

    # --- the end -------------------------------------------------------------------------------

    def _state_changed(self, event: seen.StateChanged) -> None:
        watch, limits = self._watch, self._watch.limits
        if self._started or watch.closing_at is None:
            return
        self._started = True
        limits.clear(("startup_timeout",))
        if self._forced_at is not None:
            return
        limits.set(("notices",), watch.now + FIRST_NOTICE)
        limit = watch.settings.shutdown_timeout
        if limit is not None:
            limits.set(("shutdown_timeout",), watch.now + limit)

    def _force(self) -> None:
        watch = self._watch
        if self._forced_at is None:
            self._forced_at = watch.now
            watch.limits.clear(("shutdown_timeout",))
            watch.limits.clear(("notices",))
            watch.limits.set(("last_flush",), watch.now + watch.settings.final_flush_timeout)

    def _turn_ends(self) -> None:
        watch = self._watch
        at = watch.limits.get(("shutdown_timeout",))
        if at is not None and watch.core.shutdown.forced:
            watch.tally["shutdown_timeout"] += 1
            if watch.now < at - ROUNDING:
                raise watch.broken("shutdown_timeout", f"{at - watch.now:.3f} s early")
            if self._named != bool(watch.core.shutdown.abandoned):
                raise watch.broken("names_abandoned", "shutdown_timeout does not say what is left")
            self._force()
        if watch.core.shutdown.forced and self._running and not watch.core.finished:
            watch.tally["cancels_abandoned"] += 1
            if left := set(self._running) - self._cancelled:
                raise watch.broken("cancels_abandoned", f"{sorted(left)} are not cancelled")
        notice_at = watch.limits.get(("notices",))
        if notice_at is not None and watch.now >= notice_at - ROUNDING:
            # When two sums of the same times differ in the last digit, the notice has a turn of its
            # own, the next one.
            is_next = watch.due is not None and watch.due <= watch.now + ROUNDING
            if watch.now > notice_at + ROUNDING or not is_next:
                if self._has_work():
                    raise watch.broken("notices", "nothing says what the shutdown waits for")
                watch.limits.set(("notices",), watch.now + NOTICE_INTERVAL)
        flush_until = watch.limits.get(("last_flush",))
        if flush_until is not None and watch.now >= flush_until:
            watch.limits.clear(("last_flush",))

    def _has_work(self) -> bool:
        core = self._watch.core
        return core.requests.unfinished > 0 or len(core.buffer) > 0

    def _error(self, event: seen.ErrorOccurred) -> None:
        watch = self._watch
        if event.kind == "shutdown_waiting":
            watch.tally["notices"] += 1
            at = watch.limits.get(("notices",))
            if at is None or watch.now < at - ROUNDING:
                raise watch.broken("notices", f"a notice at {watch.now:.3f}, due at {at}")
            watch.limits.set(("notices",), watch.now + NOTICE_INTERVAL)
        elif event.fatal and self._replies.waiting:
            self._force()  # what the journal had gets a last moment
        elif event.kind == "shutdown_timeout":
            self._named = True
        elif event.kind == "reply_undelivered" and event.request_id is not None:
            self._undelivered.add(event.request_id)

    def _closes(self, command: do.CloseSocket) -> None:
        watch, generation = self._watch, command.generation
        if watch.closing_at is None or generation != self._connections.closed_serving:
            return
        core = watch.core
        landed_at = core.requests.last_acknowledged_at + watch.settings.pause_delay
        under_way = core.requests.acknowledgements_due or watch.now < landed_at
        if core.shutdown.forced and under_way:
            return  # it would overtake an acknowledgement, and the close follows in any case
        watch.tally["pauses"] += 1
        if generation not in self._paused:
            raise watch.broken("pauses", f"connection {generation} is closed without a pause")

    def _runs(self, request_id: str) -> None:
        self._running[request_id] = None
        if self._forced_at is not None or self._watch.core.finished:
            raise self._watch.broken("nothing_left", f"{request_id} is started too late")

    def _returned(self, finished: inputs.ExecutionFinished) -> None:
        self._running.pop(finished.request_id, None)

    def _finished(self, command: do.Finished) -> None:
        watch, error = self._watch, command.error
        shutdown, waiting = watch.core.shutdown, set(self._replies.waiting)
        watch.tally["nothing_left"] += 1
        if self._sockets:
            raise watch.broken("nothing_left", f"connections {sorted(self._sockets)} are open")
        abandoned = set(shutdown.abandoned)
        if left := set(self._running) - abandoned - self._lost:
            raise watch.broken("nothing_left", f"{sorted(left)} run")
        if waiting != self._undelivered:
            text = f"{sorted(waiting)} wait, {sorted(self._undelivered)} are reported"
            raise watch.broken("names_abandoned", text)
        if waiting or abandoned:
            watch.tally["names_abandoned"] += 1
            named = set(error.request_ids) if isinstance(error, WorkAbandoned) else set()
            about_work = error is None or isinstance(error, WorkAbandoned)
            if about_work and named != waiting | abandoned:
                raise watch.broken("names_abandoned", f"{error} for {waiting | abandoned}")
        if self._ever_connected and isinstance(error, StartupTimeout):
            raise watch.broken("startup_timeout", "it had been connected")
        if isinstance(error, StartupTimeout):
            watch.tally["startup_timeout"] += 1
        if not shutdown.forced:
            watch.tally["waits_for_work"] += 1
            if waiting or set(self._running) - self._lost:
                raise watch.broken("waits_for_work", f"{waiting} and {self._running} are left")
            return
        forced_at = self._forced_at if self._forced_at is not None else watch.now
        watch.tally["ends_in_time"] += 1
        if waiting:
            watch.tally["last_flush"] += 1
            if watch.now < forced_at + watch.settings.final_flush_timeout - ROUNDING:
                raise watch.broken("last_flush", f"{sorted(waiting)} had no time")
