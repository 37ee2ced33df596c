"""Which run a log record of a function belongs to.

A function runs in its own context, which its tasks and its thread inherit. So whatever logs on the
way can be told which run it works for, without passing that along.
"""

import logging
from typing import Final

from ..core.wire.remote_text import shortened_id
from .user_exits import current_function

_NAMES: Final = ("function_slug", "run_id", "request_id")


def run_fields() -> dict[str, str]:
    """The ``function_slug``, ``run_id`` and ``request_id`` of what runs here; else nothing.

    For loggers that are not of the standard library.
    """
    origin = current_function.get()
    if origin is None:
        return {}
    values = (origin.function, origin.run_id, origin.request_id)
    return {name: shortened_id(value) for name, value in zip(_NAMES, values, strict=True)}


class RunFilter(logging.Filter):
    """For a handler: gives each record these fields, ``-`` where no function runs.

    On the handler that is called where the record is made: with a queue, on the ``QueueHandler``.
    What a record has already stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        found = run_fields()
        for name in _NAMES:
            if not hasattr(record, name):
                setattr(record, name, found.get(name, "-"))
        return True
