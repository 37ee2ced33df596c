"""A retry strategy of your own: how long a worker waits before it connects again.

    inngest-connect gateway          # in another terminal
    python examples/retry_strategy.py

Then end the gateway with Ctrl-C, watch the delays grow, and start it again. Without a strategy
the delays are those of ``ScheduleRetry``, up to 300 s.
"""

import logging
from collections.abc import Callable

import inngest

from inngest_connect import Connected, connect

client = inngest.Inngest(app_id="patient", is_production=False)


@client.create_function(fn_id="echo", trigger=inngest.TriggerEvent(event="patient/asked"))
async def echo(ctx: inngest.Context) -> dict[str, object]:
    """Something to invoke."""
    return dict(ctx.event.data)


class FullJitter:
    """Twice as long after each failure, up to a limit, and anywhere between 0 and that.

    A thousand workers that lost one gateway then come back evenly spread over the time.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Called on a thread, with the ``failures`` in a row. ``random`` gives numbers in [0, 1).

        A connection that ended soon after it began counts as a failure, too.
        """
        seconds = random() * min(self._longest, self._first * 2.0 ** min(failures, 30))
        print(f"after {failures} failures: waiting {seconds:.2f} s", flush=True)
        return seconds


def show_connection(event: Connected) -> None:
    """``outage_seconds`` is None for the first connection."""
    if event.outage_seconds is not None:
        print(f"connected again after {event.outage_seconds:.2f} s", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    connect(
        [(client, [echo])],
        retry=FullJitter(first=0.5, longest=20.0),
        on={"connected": show_connection},
    ).run()
