"""A loop of our own is resumed after whatever stopped it, and ends with its main coroutine."""

import asyncio
import gc
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from inngest_connect.errors import LocalMistake
from inngest_connect.execution.user_exits import run_to_end

pytestmark = pytest.mark.unit


class Alarm(BaseException):
    """Not an Exception, as pytest's own are."""


def leave(*_: object) -> None:
    raise SystemExit(3)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def alarm(*_: object) -> None:
    raise Alarm("ring")


def stop() -> None:
    asyncio.get_running_loop().stop()


def cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


def run(*strikes: Callable[[], Any]) -> tuple[str, list[str]]:
    """Run a worker that each of ``strikes`` tries to end, one after another."""
    warned: list[str] = []

    async def worker() -> str:
        loop = asyncio.get_running_loop()
        for strike in strikes:
            loop.call_soon(strike)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return "done"

    return run_to_end(worker(), warned.append), warned


@pytest.mark.parametrize(
    ("strike", "warning"),
    [
        (leave, "user code raised SystemExit: 3 in leave (test_run_to_end.py, line "),
        (interrupt, "user code raised KeyboardInterrupt in interrupt (test_run_to_end.py, line "),
        (stop, "user code stopped the event loop; the worker resumed it"),
        (cancel_all, "cancelled the worker's task; the worker goes on"),
    ],
)
def test_a_loop_that_user_code_ends_is_resumed(strike: Any, warning: str) -> None:
    result, warned = run(strike, strike, strike)

    assert result == "done"
    assert any(warning in text for text in warned)


def test_an_exception_of_a_signal_handler_does_not_end_it() -> None:
    warned: list[str] = []

    async def worker() -> str:
        async with asyncio.timeout(30):
            # The signal comes while the loop waits, mostly.
            while not warned:  # noqa: ASYNC110
                await asyncio.sleep(1.0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return "done"

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        result = run_to_end(worker(), warned.append)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert result == "done"
    assert "user code raised Alarm: ring in alarm (test_run_to_end.py, line " in warned[0]


def test_what_the_worker_raises_is_raised() -> None:
    async def worker() -> None:
        raise OSError("no thread")

    with pytest.raises(OSError, match="no thread"):
        run_to_end(worker(), lambda _: None)


def test_ctrl_c_cancels_the_worker_once_and_is_raised_at_its_end() -> None:
    ends: list[str] = []

    async def worker() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_to_end(worker(), ends.append)
    finally:
        signal.signal(signal.SIGINT, before)

    assert ends == ["cancelled"]


def test_a_loop_that_cannot_run_at_all_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # What was to run on it is destroyed without having begun, which is said here.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    warnings.simplefilter("ignore")

    class Broken(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            raise OSError("no selector")

    warned: list[str] = []

    async def worker() -> None:
        await asyncio.sleep(30)

    coroutine = worker()
    with pytest.raises(OSError, match="no selector"):
        run_to_end(coroutine, warned.append, Broken)
    coroutine.close()
    gc.collect()

    assert 50 < len(warned) < 200


async def test_it_does_not_run_within_another_loop() -> None:
    async def worker() -> None:
        """Never runs."""

    with pytest.raises(LocalMistake, match="await start"):
        run_to_end(worker(), lambda _: None)
