"""The status server's HTTP connections: how many, how long one may be idle, and what is logged.

Anything may connect to the port: probes, scrapers, port scanners, other protocols. None of it may
take the descriptors that the worker needs to reconnect, or fill the log.
"""

import asyncio
import logging
import time
from collections.abc import MutableMapping
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from ..core.wire.remote_text import clean
from ..observability.package_logger import package_logger

MOST_CONNECTIONS: Final = 128
BACKLOG: Final = 16
"""Connections that are accepted in one turn of the loop, before the limit can be applied."""

IDLE_SECONDS: Final = 10.0
"""For a whole request to arrive, and between the requests of one connection."""

QUIET_SECONDS: Final = 600.0
_MOST_SOURCES: Final = 64

_logger = package_logger("status")


def most_connections() -> int:
    """A quarter of the descriptors that this process may have, at most 128."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return MOST_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(min(MOST_CONNECTIONS, limit // 4), 4)


class Complaints:
    """At most one line for each source in ``QUIET_SECONDS``, then with a count.

    A source is an address without its port. Of more than 64 sources the others share one line.
    """

    def __init__(self) -> None:
        self._sources: dict[str, tuple[float, int]] = {}

    def warn(self, source: str, text: str, now: float) -> None:
        if source not in self._sources and len(self._sources) >= _MOST_SOURCES:
            self._sources = {
                each: told for each, told in self._sources.items() if now - told[0] < QUIET_SECONDS
            }
            if len(self._sources) >= _MOST_SOURCES:
                source = "other addresses"
        told_at, untold = self._sources.get(source, (float("-inf"), 0))
        if now - told_at < QUIET_SECONDS:
            self._sources[source] = (told_at, untold + 1)
            return
        self._sources[source] = (now, 0)
        more = f" ({untold} more since the last line)" if untold else ""
        _logger.warning("status server: %s: %s%s", source, clean(text), more)


class _Log(logging.LoggerAdapter[logging.Logger]):
    """What uvicorn says of one connection: an error is ours, a warning is the client's."""

    level = logging.WARNING

    def __init__(self, complaints: Complaints) -> None:
        super().__init__(_logger, {})
        self._complaints = complaints
        self.source = "an unknown address"

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs

    def warning(self, msg: object, *args: object, **_: Any) -> None:
        self._complaints.warn(self.source, str(msg) % args if args else str(msg), time.monotonic())


class Connection(H11Protocol):
    """One connection. ``most`` and ``complaints`` are those of its server."""

    most: int
    complaints: Complaints
    idle_seconds: float = IDLE_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A probe every few seconds is not worth a line. uvicorn's own switch is for the process.
        self.access_log = False
        self.log = _Log(self.complaints)
        self.logger = self.log  # type: ignore[assignment]  # which has the methods that are used
        self.idle_since = 0.0
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered; one that has not arrived whole does not count."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and peer:
            self.log.source = clean(str(peer[0]))
        self.idle_since = self.loop.time()
        self._expiry = self.loop.call_later(self.idle_seconds, self._expire)
        if len(self.connections) <= self.most:
            return
        # The one that has been idle longest makes room, so that a probe gets its answer even while
        # others hold connections open. A connection that is being answered is never cut.
        idle = [one for one in self.connections if isinstance(one, Connection) and one.is_idle]
        oldest = min(idle, key=lambda one: one.idle_since)  # there is this one at least
        self.complaints.warn(
            oldest.log.source, f"more than {self.most} connections", self.loop.time()
        )
        oldest.transport.abort()
        self.connections.discard(oldest)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self.connections.add(self)  # uvicorn removes it, and it may be removed already
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def _expire(self) -> None:
        left = self.idle_since + self.idle_seconds - self.loop.time()
        if self.is_idle and left <= 0:
            self.transport.abort()
        else:
            self._expiry = self.loop.call_later(max(left, 1.0), self._expire)
