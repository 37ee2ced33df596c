"""``inngest-connect run --live`` in a real pseudo-terminal, and its picture of a moment."""

import asyncio
import codecs
import contextlib
import io
import logging
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from inngest_connect import WebSocketWorkerConnection, connect
from inngest_connect.cli.live import LiveView
from inngest_connect.testing import EmbeddedGateway, GatewayThread
from tests.integration.cli.run_process import (
    command,
    environment,
    read_until,
    run_process,
    write_module,
)
from tests.integration.cli.terminal import Terminal
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.integration


class Screen:
    """A pseudo-terminal of a size, what a program writes to it, and what is then to be seen."""

    def __init__(self, width: int, height: int) -> None:
        self._ours, self.theirs = pty.openpty()
        self.text = ""
        self.terminal = Terminal(width, height)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        self.terminal.resize(width, height)
        termios.tcsetwinsize(self._ours, (height, width))

    def read_until(self, text: str) -> None:
        """Raises AssertionError when it does not come for half a minute."""
        self.until(lambda: text in self.text)

    def until(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < limit, "\n".join(self.terminal.screen)
            if select.select([self._ours], [], [], 1.0)[0]:
                self._read()

    def read_to_the_end(self) -> None:
        os.close(self.theirs)
        while self._read():
            pass
        os.close(self._ours)

    def _read(self) -> str:
        try:
            data = self._decoder.decode(os.read(self._ours, 65536))
        except OSError:  # on Linux, when the other side is closed
            return ""
        self.text += data
        self.terminal.feed(data)
        return data

    def count(self, text: str) -> int:
        """How many lines have it, those that were scrolled away included."""
        lines = (*self.terminal.scrolled, *self.terminal.screen)
        return sum(text in line for line in lines)


@contextlib.contextmanager
def live_worker(
    directory: Path, api_origin: str, screen: Screen
) -> Iterator["subprocess.Popen[bytes]"]:
    variables = {**environment(api_origin), "TERM": "xterm"}
    for name in ("COLUMNS", "LINES"):  # they would count more than the terminal
        variables.pop(name, None)
    process = subprocess.Popen(
        command("worker:apps", "--live"),
        cwd=directory,
        env=variables,
        stdin=screen.theirs,
        stdout=screen.theirs,
        stderr=screen.theirs,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_in_a_terminal_the_view_is_redrawn_in_place(tmp_path: Path) -> None:
    write_module(tmp_path)
    screen = Screen(120, 40)
    with (
        GatewayThread() as thread,
        live_worker(tmp_path, thread.api_origin, screen) as process,
    ):
        screen.read_until("● ACTIVE")
        running = thread.call(lambda gateway: gateway.invoke("app-held"))
        screen.read_until("RUNNING")
        (tmp_path / "release").touch()
        running.result(30)
        screen.read_until("nothing in flight")
        process.send_signal(signal.SIGTERM)
        screen.read_until("● CLOSED")
        code = process.wait(30)
        screen.read_to_the_end()

    assert code == 0
    assert "\x1b[1A" in screen.text  # moves up, and draws over what was there
    assert "\x1b[?1049h" not in screen.text  # no alternate screen
    assert "app-held" in screen.text
    assert "p99" in screen.text
    assert [screen.count("● "), screen.count("● CLOSED"), screen.count("in flight")] == [1, 1, 1]


@pytest.mark.parametrize(("width", "height"), [(60, 12), (60, 40), (200, 50)])
def test_a_resized_terminal_has_one_picture_and_so_has_the_end(
    tmp_path: Path, width: int, height: int
) -> None:
    write_module(tmp_path)
    screen = Screen(100, 24)
    with (
        GatewayThread() as thread,
        live_worker(tmp_path, thread.api_origin, screen) as process,
    ):
        for _ in range(30):
            thread.call(lambda gateway: gateway.invoke("app-held"))
        printed = re.compile("(?<!-)held")  # by the functions; it moves the picture down
        screen.until(lambda: len(printed.findall(screen.text)) == 30)
        screen.resize(width, height)
        screen.read_until("\x1b[2J")
        screen.terminal.scrolled.clear()
        drawn = len(screen.text)
        screen.until(lambda: screen.text.count("● ACTIVE", drawn) > 3)
        resized = screen.terminal.screen
        pictures = screen.count("● ACTIVE")
        (tmp_path / "release").touch()
        process.send_signal(signal.SIGTERM)
        screen.read_until("● CLOSED")
        process.wait(30)
        screen.read_to_the_end()

    assert pictures == 1
    assert resized[0].startswith("● ACTIVE")
    assert len(resized) < height
    assert max(map(len, resized)) <= width
    assert [screen.count("● "), screen.count("● CLOSED")] == [1, 1]


def test_an_outage_is_shown_with_its_cause_the_failures_and_the_next_attempt(
    tmp_path: Path,
) -> None:
    write_module(tmp_path)
    screen = Screen(60, 30)
    with GatewayThread() as thread, live_worker(tmp_path, thread.api_origin, screen) as process:
        screen.read_until("● ACTIVE")
        thread.call(lambda gateway: gateway.stop()).result(30)
        # All of them in one picture: they come one after the other.
        expected = (
            "● RECONNECTING   not ready",
            f"nothing listens at {thread.api_origin}",
            " failed attempt(s)",
            "next attempt in",
            "start_failed x ",
        )
        screen.until(lambda: all(text in "\n".join(screen.terminal.screen) for text in expected))
        outage = screen.terminal.screen
        process.send_signal(signal.SIGTERM)
        screen.read_until("● CLOSED")
        process.wait(30)
        screen.read_to_the_end()

    assert outage[0].startswith("● RECONNECTING   not ready")
    assert outage[1].startswith("  nothing listens at ")
    assert max(map(len, outage)) <= 60


def test_elsewhere_it_is_lines_as_ever(tmp_path: Path) -> None:
    write_module(tmp_path)
    with (
        GatewayThread() as thread,
        run_process(tmp_path, thread.api_origin, "worker:apps", "--live") as process,
    ):
        lines = read_until(process, "] connected")

    assert "starting" in lines[0]
    assert not any("●" in line for line in lines)


async def test_the_picture_has_state_requests_figures_and_recent_events() -> None:
    console = Console(file=io.StringIO(), width=140, height=50, force_terminal=False)
    view = LiveView(console)
    logger = logging.Logger("test", logging.INFO)
    logger.addHandler(view.handler)
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        started: list[object] = []
        twelve_started = asyncio.Event()

        def picture_of(worker: WebSocketWorkerConnection) -> str:
            with console.capture() as capture:
                console.print(view.render(worker))
            return capture.get()

        def count(event: object) -> None:
            started.append(event)
            if len(started) == 4 + 12:
                twelve_started.set()

        worker = connect(
            [app.pair],
            shutdown_signals=[],
            instance_id="me",
            logger=logger,
            on={"request_started": count},
            wait=True,
        )
        with view.showing(worker):
            async with worker:
                for _ in range(3):
                    await gateway.invoke(app.functions["echo"])
                await gateway.invoke(app.functions["final"])
                waiting = [
                    asyncio.create_task(gateway.invoke(app.functions["wait"])) for _ in range(12)
                ]
                await asyncio.wait_for(twelve_started.wait(), 30)
                worker_connection = worker.connection_id
                async with asyncio.timeout(20):
                    # The figures are of whole seconds, so they come with the next one.
                    while "p50 -" in (picture := picture_of(worker)):  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                app.seen.release.set()
                await asyncio.gather(*waiting)

    assert picture.startswith("● ACTIVE   ready   app")
    assert "app-final: 1 of 1 failed, last " in picture
    assert "do not try again" in picture
    assert f"connection {worker_connection}" in picture
    assert "running 12   queued 0" in picture
    assert picture.count("RUNNING") == 10
    assert "and 2 more" in picture
    assert "function_failed" in picture.splitlines()[-1]
