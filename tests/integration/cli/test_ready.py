"""``inngest-connect ready`` against a worker's status server, and against other servers."""

import contextlib
import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from inngest_connect import connect
from inngest_connect.status import StatusServer
from inngest_connect.testing import EmbeddedGateway
from inngest_connect_ready import ask, main
from tests.integration.cli.run_process import environment
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.integration


class Answers(http.server.BaseHTTPRequestHandler):
    """The status is in the path: /503/readyz is asked as the path of a server of that kind."""

    status = 200
    body = b"ok\n"
    is_worker = True

    def do_GET(self) -> None:
        self.send_response(self.status)
        if self.is_worker:
            self.send_header("inngest-connect", "status")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Not in the output of the tests."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[Answers]]]:
    class Own(Answers):
        pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", Own
        server.shutdown()
        thread.join()


def test_the_answer_is_the_reason(server: tuple[str, type[Answers]]) -> None:
    address, answers = server

    yes = ask(address, "/readyz", 5.0)
    answers.status, answers.body = 503, b"shutting \x1b[2Jdown\nand more"
    no = ask(address, "/readyz", 5.0)
    answers.status, answers.body = 404, b"Not Found"
    other = ask(address, "/readyz", 5.0)

    assert yes == (True, "ok")
    assert no == (False, "shutting  [2Jdown")
    assert not other[0]
    assert "HTTP 404" in other[1]


@pytest.mark.parametrize("status", [200, 503])
def test_another_web_server_is_not_a_worker_whatever_it_answers(
    server: tuple[str, type[Answers]], status: int
) -> None:
    address, answers = server
    answers.is_worker, answers.status, answers.body = False, status, b"<html>Hello\nYou"

    ready, reason = ask(address, "/readyz", 5.0)

    assert not ready
    assert f"{address} is not the status server of a worker" in reason
    assert f"HTTP {status} from 'BaseHTTP/" in reason
    assert "'<html>Hello'" in reason
    assert "--http" in reason


def test_what_does_not_answer_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        slow = ask(address, "/readyz", 0.1)
    gone = ask(address, "/readyz", 5.0)

    assert slow == (False, f"no answer from {address} within 0.1 s")
    assert gone == (False, f"cannot reach {address}: Connection refused")


def test_an_answer_that_trickles_has_the_same_limit() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"

        def trickle() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    connection.sendall(b"H")

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = ask(address, "/readyz", 0.2)
        stop.set()
        thread.join()

    assert answer == (False, f"no answer from {address} within 0.2 s")


@pytest.mark.parametrize("timeout", ["0", "nan", "inf", "soon"])
def test_a_wrong_timeout_is_wrong_usage(timeout: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--timeout", timeout])

    assert raised.value.code == 2
    assert "--timeout" in capsys.readouterr().err


def test_what_speaks_something_else_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        answer = ask(f":{port}", "/readyz", 5.0)
        thread.join()

    assert answer == (False, f"127.0.0.1:{port} does not speak HTTP")


@pytest.mark.parametrize("address", ["", "x", "host:", "1:99999", "0"])
def test_a_wrong_address_is_named(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:"):
        ask(address, "/readyz", 1.0)


async def test_the_command_says_whether_a_worker_is_ready() -> None:
    def ready(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        address = url.removeprefix("http://").rstrip("/")
        return subprocess.run(
            [sys.executable, "-m", "inngest_connect.cli", "ready", *arguments],
            env=environment("", INNGEST_CONNECT_HTTP=address),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    async with EmbeddedGateway() as gateway:
        worker = connect([make_app(gateway).pair], shutdown_signals=[], wait=True)
        server = StatusServer(worker, "127.0.0.1:0")
        url = server.start()
        before, alive = ready(url), ready(url, "--live-only")
        async with worker:
            active = ready(url)
        server.stop()
    wrong = ready("", "--http", "nowhere")

    assert (before.returncode, before.stdout) == (
        1, "not ready: the connection is CONNECTING\n",
    )  # fmt: skip
    assert (alive.returncode, alive.stdout) == (0, "live: ok\n")
    assert (active.returncode, active.stdout) == (0, "ready: ok\n")
    assert wrong.returncode == 2
    assert "'nowhere'" in wrong.stderr
