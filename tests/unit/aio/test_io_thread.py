"""IoThread: what its coroutine leaves behind ends with it."""

import asyncio
import contextlib
import threading

import pytest

from inngest_connect.aio import io_thread
from inngest_connect.aio.io_thread import IoThread

pytestmark = pytest.mark.unit
LIMIT = 20.0


def run(main: "type[Main]") -> "Main":
    made = main()
    thread = IoThread("test-io", made.end)
    made.loop = thread.loop
    thread.start(made.run())
    assert made.ended.wait(LIMIT)
    thread.join()
    return made


class Main:
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.closed_at_the_end = False
        self.cancelled = False
        self.kept: list[asyncio.Task[None]] = []

    def end(self, error: BaseException | None) -> None:
        self.error = error
        self.closed_at_the_end = self.loop.is_closed()
        self.ended.set()

    async def run(self) -> None:
        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True

        self.kept.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)


class Stubborn(Main):
    async def run(self) -> None:
        async def resists() -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

        self.kept.append(asyncio.create_task(resists()))
        await asyncio.sleep(0)


class Raising(Main):
    async def run(self) -> None:
        await super().run()
        raise KeyboardInterrupt


def test_a_task_that_is_left_is_cancelled_before_the_loop_is_closed() -> None:
    main = run(Main)

    assert main.cancelled
    assert main.closed_at_the_end
    assert main.error is None


def test_a_task_that_resists_does_not_keep_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_thread, "_CLEANUP_SECONDS", 0.1)

    main = run(Stubborn)

    assert main.closed_at_the_end
    (task,) = main.kept
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_whatever_ends_the_coroutine_is_reported_with_the_end() -> None:
    main = run(Raising)

    assert isinstance(main.error, KeyboardInterrupt)
    assert main.cancelled
    assert main.closed_at_the_end
