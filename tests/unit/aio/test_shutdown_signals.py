"""The shared signal handlers: who gets them, and that one signal is one wish."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inngest_connect.aio import shutdown_signals as module
from inngest_connect.aio.shutdown_signals import shutdown_signals
from inngest_connect.aio.wakeup_descriptor import WakeupDescriptor

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


def test_a_worker_after_one_that_a_signal_has_closed_leaves_the_handlers_as_they_were() -> None:
    """The repetitions of that signal are absorbed for a while; this one was not closed by any."""
    signal.signal(SIGNAL, signal.SIG_DFL)
    closed, other = Worker(), Worker()
    with shutdown_signals([SIGNAL], closed.close, closed.abort):
        os.kill(os.getpid(), SIGNAL)
        assert closed.asked.acquire(timeout=LIMIT)
    while_absorbed = signal.getsignal(SIGNAL)

    with shutdown_signals([SIGNAL], other.close, other.abort):
        pass

    assert while_absorbed == module._registry._handle
    assert signal.getsignal(SIGNAL) == signal.SIG_DFL
    assert (other.closes, other.aborts) == (0, [])


def test_a_signal_that_is_read_after_the_close_reaches_nobody() -> None:
    """A worker that begins then would close because of a signal before its beginning."""
    received: list[int] = []
    reading, go_on = threading.Event(), threading.Event()

    def receive(number: int) -> None:
        received.append(number)
        reading.set()
        go_on.wait(LIMIT)

    signal.signal(SIGNAL, lambda *_: None)
    before = set(threading.enumerate())
    descriptor = WakeupDescriptor(receive)
    (thread,) = set(threading.enumerate()) - before
    os.kill(os.getpid(), SIGNAL)
    assert reading.wait(LIMIT)
    os.kill(os.getpid(), SIGNAL)
    descriptor.close()
    go_on.set()
    thread.join(LIMIT)

    assert not thread.is_alive()
    assert received == [SIGNAL]


def test_a_descriptor_that_has_become_another_file_is_neither_written_nor_put_back(
    tmp_path: Path,
) -> None:
    """An event loop that was closed without putting back what was there before it."""
    other = tmp_path / "other"
    received = threading.Event()
    signal.signal(SIGNAL, lambda *_: None)
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno())
    descriptor = WakeupDescriptor(lambda _: received.set())
    file = os.open(other, os.O_RDWR | os.O_CREAT)
    os.dup2(file, writing.fileno())

    os.kill(os.getpid(), SIGNAL)
    assert received.wait(LIMIT)
    descriptor.close()
    after = signal.set_wakeup_fd(-1)
    for each in (reading, writing):
        each.close()
    os.close(file)

    assert other.read_bytes() == b""
    assert after == -1
