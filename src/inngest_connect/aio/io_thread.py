"""IoThread: the thread with the event loop that user code cannot block."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..errors import WorkerCrashed
from .clock import keep_time
from .fork_guard import point_at_null

_CLEANUP_SECONDS: Final = 1.0


class IoThread:
    """A daemon thread with its own event loop, for exactly one coroutine.

    ``on_end`` is called on that thread when the coroutine has ended and the loop is closed, with
    the coroutine's exception or None. It is the last act of the thread and is always called: other
    threads wait for it. Nothing before it waits for a thread or a task that may never end; a name
    lookup that hangs keeps its own thread, and this one ends without it.
    """

    def __init__(self, name: str, on_end: Callable[[BaseException | None], None]) -> None:
        self._on_end = on_end
        self._thread: threading.Thread | None = None
        self._name = name
        self.loop = asyncio.new_event_loop()
        keep_time(self.loop)

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Raises WorkerCrashed when the process cannot start another thread."""
        self._thread = threading.Thread(
            target=self._run, args=(main,), name=self._name, daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            main.close()
            self.loop.close()
            raise WorkerCrashed(
                f"the thread of the connection cannot be started: {error}. The process or its "
                "container is at its limit of threads: raise it (ulimit -u, pids.max), or run fewer"
            ) from error

    def _run(self, main: Coroutine[Any, Any, None]) -> None:
        error: BaseException | None = None
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(main)
        except BaseException as caught:  # noqa: BLE001 - on_end receives every end
            error = caught
        try:
            # As asyncio.run does, but without waiting for the threads of the loop's executor.
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=_CLEANUP_SECONDS))
            self.loop.close()
        except Exception as caught:  # noqa: BLE001 - as above
            error = error or caught
        finally:
            asyncio.set_event_loop(None)
            self._on_end(error)

    def join(self) -> None:
        """Wait for the thread, once ``on_end`` was called. That takes milliseconds."""
        if self._thread is not None:
            self._thread.join(_CLEANUP_SECONDS)

    def abandon_descriptors(self) -> None:
        """In a forked child: leave the sockets of the loop, and its selector, to the parent."""
        selector = getattr(self.loop, "_selector", None)
        if selector is None or selector.get_map() is None:
            return
        point_at_null([*(key.fd for key in selector.get_map().values()), selector.fileno()])
