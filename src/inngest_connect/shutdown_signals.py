"""Signal handlers for the time of ``start()``: the first asks to close, the second insists."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def shutdown_signals(
    signals: Sequence[signal.Signals], close: Callable[[], None], abort: Callable[[str], None]
) -> Iterator[None]:
    """Install on the main thread only, and put the old handlers back at the end."""
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            abort(f"second signal, {signal.Signals(number).name}")
        else:
            close()

    previous: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in signals:
            previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
