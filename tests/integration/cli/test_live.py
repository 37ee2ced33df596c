"""``inngest-connect run --live`` in a real pseudo-terminal, and its picture of a moment."""

import asyncio
import io
import logging
import os
import pty
import select
import signal
import subprocess
import time
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
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.integration


class Screen:
    """What a program writes to its terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""

    def read_until(self, text: str) -> None:
        """Raises AssertionError when it does not come for half a minute."""
        limit = time.monotonic() + 30
        while text not in self.text:
            assert time.monotonic() < limit, self.text
            if select.select([self._descriptor], [], [], 1.0)[0]:
                self.text += self._read()

    def read_to_the_end(self) -> None:
        while data := self._read():
            self.text += data

    def _read(self) -> str:
        try:
            return os.read(self._descriptor, 65536).decode("utf-8", "replace")
        except OSError:  # on Linux, when the other side is closed
            return ""


def test_in_a_terminal_the_view_is_redrawn_in_place(tmp_path: Path) -> None:
    write_module(tmp_path)
    ours, theirs = pty.openpty()
    with GatewayThread() as thread:
        process = subprocess.Popen(
            command("worker:apps", "--live"),
            cwd=tmp_path,
            env={**environment(thread.api_origin), "TERM": "xterm", "COLUMNS": "120"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        screen = Screen(ours)
        screen.read_until("● ACTIVE")
        running = thread.call(lambda gateway: gateway.invoke("app-held"))
        screen.read_until("RUNNING")
        (tmp_path / "release").touch()
        running.result(30)
        screen.read_until("nothing in flight")
        process.send_signal(signal.SIGTERM)
        screen.read_until("● CLOSED")
        screen.read_to_the_end()
        code = process.wait(30)
    os.close(ours)

    assert code == 0
    assert "\x1b[1A" in screen.text  # moves up, and draws over what was there
    assert "\x1b[?1049h" not in screen.text  # no alternate screen
    assert "app-held" in screen.text or "held" in screen.text
    assert "p99" in screen.text


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
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    view = LiveView(console)
    logger = logging.Logger("test", logging.INFO)
    logger.addHandler(view.handler)
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        started: list[object] = []
        twelve_started = asyncio.Event()

        def picture_of(worker: WebSocketWorkerConnection) -> str:
            with console.capture() as capture:
                console.print(view.render(worker.get_debug_state()))
            return capture.get()

        def count(event: object) -> None:
            started.append(event)
            if len(started) == 3 + 12:
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

    assert picture.startswith("● ACTIVE   app")
    assert f"connection {worker_connection}" in picture
    assert "running 12   queued 0" in picture
    assert picture.count("RUNNING") == 10
    assert "and 2 more" in picture
    assert "connected" in picture.splitlines()[-1]
