"""Records of libraries on the I/O thread are handled elsewhere, and all others where they are."""

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from inngest_connect.observability.library_logs import off_this_thread
from tests.unit.observability.log_capture import Capture

pytestmark = pytest.mark.unit

LIBRARIES = ["httpx", "asyncio", "aiohappyeyeballs", "httpcore.connection", "httpcore.http11"]


@pytest.fixture
def log() -> Iterator[Capture]:
    capture = Capture()
    before = {name: logging.getLogger(name).level for name in LIBRARIES}
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger().addHandler(capture)
    yield capture
    logging.getLogger().removeHandler(capture)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def texts(log: Capture) -> list[str]:
    return [record.getMessage() for record in log.records]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_record_of_this_thread_is_handled_when_it_is_called_elsewhere(
    name: str, log: Capture
) -> None:
    put: list[Callable[[], None]] = []
    with off_this_thread(put.append):
        logging.getLogger(name).info("calls %s", "home")
        immediately = texts(log)
        for call in put:
            call()

    assert immediately == []
    assert texts(log) == ["calls home"]


def test_other_threads_and_other_times_are_left_alone(log: Capture) -> None:
    put: list[Callable[[], None]] = []
    logger = logging.getLogger("httpx")

    def on_the_io_thread() -> None:
        with off_this_thread(put.append):
            entered.set()
            assert go_on.wait(10)
            logger.info("from the thread")
        logger.info("afterwards")

    entered, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=on_the_io_thread)
    thread.start()
    assert entered.wait(10)
    logger.info("from another thread")
    go_on.set()
    thread.join()

    assert len(put) == 1
    assert texts(log) == ["from another thread", "afterwards"]
