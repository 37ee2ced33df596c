"""Requests in flight by function, so that hundreds of them can be looked at.

Lists of requests are in the order of a snapshot, oldest first, and so are the functions.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from ..observability.debug_state import InFlightRequest

MOST_OF_EACH: Final = 20
"""Requests of one function that the page lists."""
MOST_IN_ALL: Final = 200

_COUNTED_AS: Final = {
    "ACKNOWLEDGING": "queued",  # for the moment until its acknowledgement is written
    "QUEUED": "queued",
    "RUNNING": "running",
    "ANSWERED": "answered",
    "LOST": "lost",
}


def by_function(requests: Iterable[InFlightRequest]) -> list[dict[str, Any]]:
    """How many requests each function has in flight, and the age of its oldest one."""
    groups: dict[str, dict[str, Any]] = {}
    for request in requests:
        group = groups.get(request.function_slug)
        if group is None:
            group = groups[request.function_slug] = {
                "function_slug": request.function_slug,
                "total": 0,
                "queued": 0,
                "running": 0,
                "answered": 0,
                "lost": 0,
                "oldest_age": request.attempt_age,
            }
        group["total"] += 1
        group[_COUNTED_AS[request.progress]] += 1
    return list(groups.values())


def oldest_of_each(requests: Iterable[InFlightRequest]) -> list[InFlightRequest]:
    """The oldest requests of each function: one that is stuck is not hidden by those of another."""
    chosen: list[InFlightRequest] = []
    counts: Counter[str] = Counter()
    for request in requests:
        counts[request.function_slug] += 1
        if counts[request.function_slug] <= MOST_OF_EACH:
            chosen.append(request)
            if len(chosen) == MOST_IN_ALL:
                break
    return chosen
