"""The clock of a worker: monotonic seconds that include the time a machine sleeps.

On Linux and macOS ``time.monotonic`` does not advance while the machine sleeps. A laptop that slept
for an hour would wait for the rest of a delay, and trust a connection that died long ago. On this
clock a machine that slept looks like a process that was stopped: every deadline is late.
"""

import sys
import time
from collections.abc import Callable
from typing import Final


def _make_clock() -> Callable[[], float]:
    name = "CLOCK_MONOTONIC_RAW" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    number = getattr(time, name, None)
    if number is None:
        return time.monotonic
    read = time.clock_gettime
    try:
        ahead = read(number) - time.monotonic()
    except OSError:  # a sandbox without this clock
        return time.monotonic
    return lambda: read(number) - ahead


monotonic: Final = _make_clock()
"""Equal to ``time.monotonic()`` until the machine sleeps for the first time in this process."""
