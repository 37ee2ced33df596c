"""What blocks the event loop of the functions is named once, and its end once."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from inngest_connect.core.events import ErrorOccurred
from inngest_connect.execution import blocked_loop
from inngest_connect.execution.blocked_loop import BlockedLoop, look_on_a_tick, looking_thread
from inngest_connect.execution.user_exits import Origin, _guarded

pytestmark = pytest.mark.unit


class Watch:
    """A ``LoopWatch`` whose lag the test decides."""

    def __init__(self, *lags: float, runs: bool = True) -> None:
        self.lags = list(lags)
        self.runs = runs

    def loop_runs(self) -> bool:
        return self.runs

    def lag(self) -> float:
        return self.lags.pop(0)


def looked(watch: Watch, thread: int = 0) -> list[ErrorOccurred]:
    reports: list[ErrorOccurred] = []
    loop = BlockedLoop(watch, thread, reports.append)  # type: ignore[arg-type]
    while watch.lags:
        loop.look()
    return reports


def test_a_block_is_reported_once_and_its_end_once() -> None:
    reports = looked(Watch(0.0, 4.9, 5.1, 6.0, 12.3, 0.0, 0.0))

    assert [(each.kind, each.message) for each in reports] == [
        (
            "loop_blocked",
            "the application's event loop has been blocked for 5.1 s; other async functions wait "
            "meanwhile. Make the function a plain def, which runs in a thread, or move the "
            "blocking call with asyncio.to_thread",
        ),
        ("loop_free", "the application's event loop is free again, after 12 s"),
    ]
    assert reports[0].stack is None  # this thread does not exist


def test_a_loop_that_does_not_run_is_not_blamed_on_a_function() -> None:
    (report,) = looked(Watch(6.0, runs=False), threading.get_ident())

    assert report.message.startswith("the application's event loop has not run for 6 s, and")
    assert report.stack is None


def test_a_loop_whose_clock_was_replaced_is_not_blamed_on_a_function() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert thread.ident is not None
    while not blocked_loop._is_idle(blocked_loop._frames(thread.ident)):
        time.sleep(0.01)

    (report,) = looked(Watch(6.0), thread.ident)

    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert "has called no timer for 6 s and runs nothing" in report.message


def test_each_block_is_reported() -> None:
    reports = looked(Watch(6.0, 0.0, 7.0, 0.1))

    assert [each.kind for each in reports] == ["loop_blocked", "loop_free"] * 2


@pytest.fixture
def blocked() -> Iterator[int]:
    """A thread in which a function blocks, as the executor runs it; its identifier."""
    inside, release = threading.Event(), threading.Event()

    async def charge() -> None:
        inside.set()
        release.wait(30)

    def run() -> None:
        running = _guarded(charge(), Origin("r1", "run1", "app-charge", lambda _: None))
        with pytest.raises(StopIteration):
            running.send(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert inside.wait(30)
    assert thread.ident is not None
    yield thread.ident
    release.set()
    thread.join(30)


def test_the_function_that_blocks_is_named_with_its_stack_and_not_that_of_the_loop(
    blocked: int,
) -> None:
    first, free = looked(Watch(5.5, 0.0), blocked)

    assert (first.request_id, first.run_id, first.function_slug) == ("r1", "run1", "app-charge")
    assert "blocked for 5.5 s in the function 'app-charge' (File " in first.message
    assert first.stack is not None
    lines = first.stack.splitlines()
    assert lines[0] == "Stack (most recent call last):"
    assert lines[1].endswith(", in charge")
    assert "threading.py" in lines[-1]
    assert free.message.endswith("after 5.5 s in the function 'app-charge'")
    assert lines[-1] not in repr(first)


def test_a_block_by_other_code_is_not_that_of_the_function_that_blocked_before(
    blocked: int,
) -> None:
    reports: list[ErrorOccurred] = []
    watch = Watch(6.0, 0.0, 7.0, 0.0)
    loop = BlockedLoop(watch, blocked, reports.append)  # type: ignore[arg-type]
    loop.look()
    loop.look()
    loop._thread = 0  # whose stack has no function
    loop.look()
    loop.look()

    *_, again, free = reports
    assert again.function_slug is None
    assert "app-charge" not in again.message + free.message


def test_who_is_late_does_not_judge_and_who_was_blocked_says_so() -> None:
    reports: list[ErrorOccurred] = []
    watch = Watch(6.0)
    tick = look_on_a_tick(BlockedLoop(watch, 0, reports.append), reports.append)  # type: ignore[arg-type]

    tick(2.0)
    assert reports == []
    tick(7.0)
    assert watch.lags == [6.0]
    assert [each.kind for each in reports] == ["loop_blocked"]
    assert reports[0].message.startswith("the connection's event loop was blocked for 7 s: ")
    tick(0.1)
    assert len(reports) == 2


@pytest.mark.parametrize("raised", [None, ValueError()])
def test_a_thread_looks_until_the_end_of_the_block(
    raised: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked_loop, "LOOK_SECONDS", 0.01)
    reported = threading.Event()
    watch = Watch(*[6.0] * 1_000_000)

    with (
        contextlib.suppress(ValueError),
        looking_thread(BlockedLoop(watch, 0, lambda _: reported.set())),  # type: ignore[arg-type]
    ):
        assert reported.wait(30)
        if raised is not None:
            raise raised
    for thread in threading.enumerate():
        if thread.name == "inngest-connect-lookout":
            thread.join(30)
            assert not thread.is_alive()


def test_without_another_thread_the_worker_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)

    with looking_thread(BlockedLoop(Watch(), 0, lambda _: None)):  # type: ignore[arg-type]
        pass
