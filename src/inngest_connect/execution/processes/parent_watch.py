"""Ends a child process when its parent has ended, even if its event loop is blocked."""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Final

_INTERVAL: Final = 0.5
_PR_SET_PDEATHSIG: Final = 1


def watch_parent(parent: int, grace: float) -> None:
    """End this process at the latest ``grace`` seconds after ``parent``, a process id.

    A thread compares the id of the parent. It needs the interpreter lock, which a native function
    may keep; on Linux the kernel kills such a process when the thread that started it ends.
    Raises RuntimeError when the process cannot start another thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_INTERVAL)
        time.sleep(grace)  # the event loop sees the closed socket; functions may clean up
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
