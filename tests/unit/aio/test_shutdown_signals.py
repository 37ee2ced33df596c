"""The shared signal handlers: who gets them, and that one signal is one wish."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from inngest_connect.aio import shutdown_signals as module
from inngest_connect.aio.shutdown_signals import shutdown_signals

pytestmark = pytest.mark.unit
LIMIT = 20.0
SIGNAL = signal.SIGUSR1


class Worker:
    """What a worker is asked for."""

    def __init__(self) -> None:
        self.closes = 0
        self.aborts: list[str] = []
        self.asked = threading.Semaphore(0)

    def close(self) -> None:
        self.closes += 1
        self.asked.release()

    def abort(self, reason: str) -> None:
        self.aborts.append(reason)
        self.asked.release()


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(SIGNAL, signal.SIG_IGN)
    yield
    signal.signal(SIGNAL, before)


def test_off_the_main_thread_nothing_is_installed_and_nothing_raises() -> None:
    worker = Worker()
    seen: list[object] = []

    def run() -> None:
        with shutdown_signals([SIGNAL], worker.close, worker.abort) as installed:
            seen.extend((installed, signal.getsignal(SIGNAL)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LIMIT)

    assert seen == [False, signal.SIG_IGN]


def test_without_signals_nothing_is_installed() -> None:
    worker = Worker()
    with shutdown_signals([], worker.close, worker.abort) as installed:
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)

    assert installed is False
    assert descriptor == -1


def test_one_signal_that_is_seen_twice_is_one_wish_and_the_next_one_insists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the handler on the main thread, and as a byte on another."""
    registry, passed = module._registry, threading.Semaphore(0)
    received = registry._wakeup_received

    def note(number: int) -> None:
        received(number)
        passed.release()

    monkeypatch.setattr(registry, "_wakeup_received", note)
    worker = Worker()
    with shutdown_signals([SIGNAL], worker.close, worker.abort):
        os.kill(os.getpid(), SIGNAL)
        assert worker.asked.acquire(timeout=LIMIT)
        assert passed.acquire(timeout=LIMIT)
        after_one = (worker.closes, list(worker.aborts))
        os.kill(os.getpid(), SIGNAL)
        assert worker.asked.acquire(timeout=LIMIT)
        assert passed.acquire(timeout=LIMIT)

    assert after_one == (1, [])
    assert (worker.closes, worker.aborts) == (1, ["second signal, SIGUSR1"])
