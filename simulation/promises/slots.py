"""What a worker promises to report about functions that do not end."""

from typing import Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs

from .limits import ROUNDING
from .watch import Watch

FULL_WARNING: Final = 300.0
"""Seconds without a free slot after which that is reported."""


class SlotPromises:
    """Each report is due when a duration has passed, and again when it has doubled."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._running: dict[str, float] = {}
        """By request id: when its function was started."""
        self._full_since: float | None = None
        watch.on_command(do.Execute, self._started)
        watch.on_input(inputs.ExecutionFinished, self._ended)
        watch.on_command(seen.ErrorOccurred, self._reported)

    def _started(self, command: do.Execute) -> None:
        watch, request_id = self._watch, command.request.request_id
        settings = watch.settings
        warning = settings.long_running_warning
        self._running[request_id] = watch.now
        if warning is not None:
            watch.limits.set(("reports_long_running", request_id), watch.now + warning)
        if settings.max_worker_concurrency == len(self._running):
            self._full_since = watch.now
            patience = min(FULL_WARNING, warning or FULL_WARNING)
            watch.limits.set(("reports_no_free_slot",), watch.now + patience)

    def _ended(self, finished: inputs.ExecutionFinished) -> None:
        self._running.pop(finished.request_id, None)
        self._full_since = None
        self._watch.limits.clear(("reports_long_running", finished.request_id))
        self._watch.limits.clear(("reports_no_free_slot",))

    def _reported(self, event: seen.ErrorOccurred) -> None:
        if event.kind == "function_long_running":
            since = self._running.get(event.request_id or "")
            self._judge("reports_long_running", since, (event.request_id,))
        elif event.kind == "no_free_slot":
            self._judge("reports_no_free_slot", self._full_since, ())

    def _judge(self, promise: str, since: float | None, about: tuple[str | None, ...]) -> None:
        watch, key = self._watch, (promise, *about)
        watch.tally[promise] += 1
        at = watch.limits.get(key)
        if at is None or since is None or watch.now < at - ROUNDING:
            raise watch.broken(promise, f"reported at {watch.now:.3f}, due at {at}")
        watch.limits.set(key, watch.now + (watch.now - since))
