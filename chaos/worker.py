"""A worker process of a chaos run: ``python -m chaos.worker ORIGIN NAME``.

It ends on SIGTERM and prints one line of JSON: how much it executed, and how much twice.
"""

import faulthandler
import json
import logging
import signal
import sys
from collections import Counter
from typing import Any, Final

import inngest

from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.factory import connect

from .functions import APP, make_functions

_SCHEDULE: Final = (0.0, 0.15, 0.3, 0.8, 1.5, 3.0, 5.0)
"""Seconds between attempts: a sixth of the real ones, as the server's lease is a sixth."""


def main(origin: str, name: str) -> None:
    """Run the worker until SIGTERM; SIGUSR1 writes the stacks of all threads to stderr."""
    executions: Counter[str] = Counter()

    def started(event: Any) -> None:
        executions[event.request_id] += 1

    faulthandler.register(signal.SIGUSR1)
    logging.disable(logging.CRITICAL)  # failures are expected
    client = inngest.Inngest(
        app_id=APP, api_base_url=origin, event_api_base_url=origin, is_production=False
    )
    worker = connect(
        [(client, make_functions(client))],
        instance_id=name,
        on={"request_started": started},
        retry=ScheduleRetry(_SCHEDULE),
    )
    worker.run()
    state = worker.get_debug_state()
    twice = sum(1 for count in executions.values() if count > 1)
    summary = {
        "executed": executions.total(),
        "executed_twice": twice,
        "connections": state.counters.get("connections", 0),
        "invalid_transitions": state.counters.get("invalid_transitions", 0),
    }
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
