"""``running_loop``: the event loop of a coroutine of this package, which needs asyncio."""

import asyncio
import sys
from typing import Any

from ..errors import LocalMistake


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs the caller. Raises LocalMistake when that is not asyncio's."""
    loop = asyncio._get_running_loop()
    # A guest run of trio: asyncio runs trio, which runs the caller outside of any asyncio task.
    if loop is not None and not (asyncio.current_task(loop) is None and in_trio()):
        return loop
    by = "under trio" if in_trio() else "without an event loop of asyncio"
    raise LocalMistake(
        f"this was awaited {by}, and a worker runs on asyncio only. Run it on a thread that has an "
        "event loop of its own: worker.run(), with trio by trio.to_thread.run_sync(worker.run); "
        "worker.close_sync() closes it from any thread"
    )


def in_trio() -> bool:
    """Whether trio runs the caller."""
    trio: Any = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_trio_token()
    except (AttributeError, RuntimeError):
        return False
    return True
