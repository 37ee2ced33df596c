"""The tutorial, as a reader goes through it: its files, and its commands in their order.

Left out is the installation. Other ports are used, because those of the page may be taken.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "tutorial.md"
FIRST_WORKER, WORKER, TESTS = (block.text for block in blocks(PAGE))
RUN = "inngest-connect run shop.worker:apps"
COMMANDS = [
    "mkdir shop-worker && cd shop-worker",
    "python3 -m venv .venv && . .venv/bin/activate",
    'pip install "inngest-connect[cli,testing]" pytest pytest-asyncio',
    "inngest-connect gateway",
    "export INNGEST_DEV=http://127.0.0.1:8288",
    f"{RUN} --reload",
    """curl http://127.0.0.1:8288/invoke/shop-greet -d '{"data": {"name": "Ada"}}'""",
    """curl http://127.0.0.1:8288/invoke/shop-order -d '{"data": {"item": "book"}}'""",
    "python -m pytest -q",
    f"{RUN} --http 127.0.0.1:8080 --shutdown-timeout 60",
    "inngest-connect ready",
    "curl http://127.0.0.1:8080/healthz",
    """curl http://127.0.0.1:8288/invoke/shop-report -d '{"data": {}}'""",
    f"{RUN} --http 127.0.0.1:8080 --shutdown-timeout 60 --journal journal",
    """curl http://127.0.0.1:8288/invoke/shop-report -d '{"data": {}}' &""",
    "inngest-connect journal journal",
    "kill -9 1694",
    "wait",
    "inngest-connect doctor shop.worker:apps",
]
"""What the page tells its reader to type. The test below runs them by their place in this list."""


class Reader:
    """Types commands in a directory, with free ports in place of those of the page."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[str]] = []
        api, gateway, self.status = free_ports(3)
        self.replacements = {
            "connect gateway": f"connect gateway --port {api} --gateway-port {gateway}",
            "connect ready": f"connect ready --http 127.0.0.1:{self.status}",
            ":8288": f":{api}",
            ":8080": f":{self.status}",
        }
        # As after ". .venv/bin/activate".
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.variables = {**os.environ, "PATH": path, "INNGEST_DEV": f"http://127.0.0.1:{api}"}

    def start(self, command: str) -> subprocess.Popen[str]:
        for shown, used in self.replacements.items():
            command = command.replace(shown, used)
        log = self.directory / f"log-{len(self.started)}"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.removesuffix(' &')}"],
                cwd=self.directory,
                env=self.variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(process)
        return process

    def log(self, process: subprocess.Popen[str]) -> str:
        return (self.directory / f"log-{self.started.index(process)}").read_text("utf-8")

    def run(self, command: str) -> str:
        process = self.start(command)
        code = process.wait(90)
        assert code == 0, self.log(process)
        return self.log(process)

    def wait_for(self, process: subprocess.Popen[str], text: str, times: int = 1) -> None:
        for _ in moments():
            if self.log(process).count(text) >= times:
                return
        pytest.fail(f"{text!r} was not printed: {self.log(process)}")

    def wait_for_report(self) -> None:
        """Until the report runs."""
        for _ in moments():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.status}/state.json") as answer:
                if json.load(answer)["state"]["running"]:
                    return
        pytest.fail("the report does not run")

    def write(self, code: str, seconds: float = 20) -> None:
        """A block of the page, under the name in its first line; the report takes ``seconds``."""
        file = self.directory / code.partition("\n")[0].removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        file.write_text(code.replace("sleep(20)", f"sleep({seconds})"), encoding="utf-8")


def moments() -> Iterator[None]:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        yield
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    for process in reader.started:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_these_are_the_commands_of_the_page() -> None:
    consoles = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    typed = [line[2:] for text in consoles for line in text.splitlines() if line[:2] == "$ "]

    assert typed == COMMANDS


def test_a_reader_gets_what_the_page_promises(reader: Reader) -> None:
    _, _, _, gateway, _, reloading, greet, order, tests, probed, *rest = COMMANDS
    ready, healthz, report, with_journal, in_background, journal, _, _, doctor = rest

    # 2. A function
    reader.write(FIRST_WORKER)
    reader.wait_for(reader.start(gateway), "an event:")
    worker = reader.start(reloading)
    reader.wait_for(worker, "connected")
    assert '"status":"completed","output":"Hello, Ada"' in reader.run(greet)

    # 3. A step that fails
    for _ in moments():
        if "worker.py changed" in reader.log(worker):
            break
        reader.write(WORKER, seconds=8)
        time.sleep(1)
    reader.wait_for(worker, "connected", times=2)
    ordered = reader.run(order)
    reader.wait_for(worker, "the bank did not answer")
    assert '"output":"book: paid, packed"' in ordered
    assert '"steps":{"charge":"paid","pack":"packed"},"attempts":1,"requests":4,' in ordered

    # 4. Tests
    reader.write(TESTS)
    assert "2 passed" in reader.run(tests)

    # 5. Probes
    worker.send_signal(signal.SIGINT)
    assert worker.wait(60) == 0
    worker = reader.start(probed)
    reader.wait_for(worker, "connected")
    assert reader.run(ready) == "ready: ok\n"
    assert "ok" in reader.run(healthz).splitlines()

    # 6. Stop it
    run = reader.start(report)
    reader.wait_for_report()
    worker.send_signal(signal.SIGINT)
    assert worker.wait(60) == 0
    assert "shutdown_waiting" in reader.log(worker), reader.log(worker)
    assert run.wait(60) == 0
    assert '"status":"completed","output":"42 orders"' in reader.log(run)

    # 7. Kill it
    reader.write(WORKER, seconds=15)
    worker = reader.start(with_journal)
    reader.wait_for(worker, "connected")
    run = reader.start(in_background)
    reader.wait_for_report()
    for _ in moments():
        shown = reader.run(journal)
        if "shop-report" in shown:
            break
    named = re.search(r"last opened by pid (\d+) ", shown)
    assert named is not None
    assert int(named[1]) == worker.pid
    worker.kill()
    worker.wait()
    reader.write(WORKER, seconds=0)
    worker = reader.start(with_journal)
    reader.wait_for(worker, "recovered")
    assert run.wait(60) == 0
    again = reader.log(run)
    assert '"status":"completed","output":"42 orders"' in again
    assert '"attempts":2,' in again

    # 8. Deploy
    assert "A worker can open a connection from here" in reader.run(doctor)
