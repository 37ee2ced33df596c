"""The program that a child process runs: it serves the apps of an import path over a socket pair.

It loads the apps, and runs requests with a LoopExecutor on its event loop until the parent closes
its half of the socket pair or has ended. Signals are the parent's business: a terminal and a
service manager send them to all processes of a group.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Coroutine
from functools import partial
from types import FrameType
from typing import Any, Final

from ...aio.fork_guard import keep_from_forks
from ...aio.loop_watch import LoopWatch
from ...core.inputs import AbortRequested, ExecutionFinished, FunctionMisbehaved
from ...core.wire.messages import ExecutionResult
from ...core.wire.user_text import class_name, error_message, is_a
from ...errors import ConnectError
from ...observability.redaction import Redactor
from ...observability.tracing import Tracing
from ...protocol import connect_pb2 as pb
from ...sdk.adapter import SdkApp
from ...sdk.target import load_attribute, load_target
from .. import django_project
from ..blocked_loop import BlockedLoop, looking_thread
from ..context import ExecutionContexts
from ..executor import ExecutorPorts
from ..loop_executor import LoopExecutor
from ..user_exits import run_to_end
from . import frames
from .parent_watch import watch_parent
from .reports import send_report

_LONGEST_TEXT: Final = 2000
_LONGEST_MESSAGE: Final = 1500
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run with the arguments of ``interpreter.spawn``: a descriptor and a JSON object."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    arguments = json.loads(sys.argv[2])
    grace = float(arguments["grace"])
    # A program that a function starts must not keep the socket open when this process dies.
    connection.set_inheritable(False)
    reports = socket.socket(fileno=int(arguments["reports"]))
    reports.set_inheritable(False)
    for number in _SIGNALS:
        # A handler that does nothing, rather than SIG_IGN: programs that functions start would
        # inherit that.
        signal.signal(number, _ignore)
        signal.siginterrupt(number, False)
    os.register_at_fork(after_in_child=_handle_signals_again)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        watch_parent(arguments["parent"], grace)
        if arguments.get("prepare"):
            module, _, name = arguments["prepare"].partition(":")
            getattr(importlib.import_module(module), name)()
        # Without a running event loop, as in a program that imports its own modules.
        django_project.set_up()
        apps = load_target(arguments["target"])
        hook = arguments.get("execution_context")
        contexts = ExecutionContexts(load_attribute(hook) if hook else None)
    except BaseException as error:  # noqa: BLE001 - the parent receives it
        with contextlib.suppress(OSError):
            connection.sendall(frames.frame(frames.FAILED, describe(error).encode()))
        return 1
    # What was imported stays until the end, so the collector need not scan it again and again.
    gc.collect()
    gc.freeze()
    served = _ServedApps(apps, contexts, reports)
    run_to_end(served.serve(connection, grace), served.warn)
    return 0


def _ignore(number: int, frame: FrameType | None) -> None:
    """Signals are the parent's business."""


def _handle_signals_again() -> None:
    """A process that a function forks has the usual handlers, so that terminate() ends it."""
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    for number, handler in usual.items():
        if signal.getsignal(number) is _ignore:
            signal.signal(number, handler)


class _ServedApps(asyncio.Protocol):
    """The child's end of the socket pair."""

    def __init__(
        self, apps: dict[str, SdkApp], contexts: ExecutionContexts, reports: socket.socket
    ) -> None:
        self._apps = apps
        self._contexts = contexts
        self._reports = reports
        self._reader = frames.FrameReader(frames.MAX_REQUEST_BYTES)
        self._loop: asyncio.AbstractEventLoop
        self._stopped = asyncio.Event()
        """The parent has closed its half, or has ended."""
        self._closed = asyncio.Event()
        self._executor: LoopExecutor
        self._transport: asyncio.Transport
        self._unsent: list[bytes] = []

    async def serve(self, connection: socket.socket, grace: float) -> None:
        """Run requests until the parent closes its half; leave after ``grace`` seconds more."""
        self._loop = asyncio.get_running_loop()
        tracing, apps = Tracing(on_failure=self.warn), self._apps

        def run(request: pb.GatewayExecutorRequestData) -> Coroutine[Any, Any, ExecutionResult]:
            running = apps[request.app_name].run(request)
            return tracing.around(request, self._contexts.around(running))

        self._executor = LoopExecutor(
            ExecutorPorts(
                loop=self._loop,
                run_request=run,
                can_cancel=lambda request: apps[request.app_name].is_async(request.function_slug),
                post=self._post,
                observe=lambda _: None,
                functions={},
            )
        )
        keep_from_forks(self, connection)
        keep_from_forks(self._executor, self._reports)
        connection.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=connection)
        watch = LoopWatch(self._loop)
        watch.start()
        send = partial(send_report, self._reports)
        whose = f"child process {os.getpid()}'s"
        with looking_thread(BlockedLoop(watch, threading.get_ident(), send, whose)):
            await self._stopped.wait()
        watch.stop()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # The interpreter would wait for functions in threads, however long they take.
        latest = threading.Timer(grace, os._exit, args=(1,))
        latest.daemon = True
        with contextlib.suppress(RuntimeError):  # no thread left: the parent kills this process
            latest.start()
        await self._executor.wait_stopped(grace)
        await asyncio.sleep(0)  # the last results are written in the next turn of the loop
        self._transport.close()
        await self._closed.wait()

    def warn(self, text: str) -> None:
        """Have the parent's users warned of what user code did."""
        self._post(FunctionMisbehaved("", f"child process {os.getpid()}: {text}"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        functions = {name: app.identity.function_slugs for name, app in self._apps.items()}
        transport.write(frames.ready_frame(functions))

    def data_received(self, data: bytes) -> None:
        for kind, body in self._reader.feed(data):
            match kind:
                case frames.RUN:
                    self._executor.submit(pb.GatewayExecutorRequestData.FromString(body))
                case frames.CANCEL:
                    self._executor.cancel(body.decode())
        self._executor.flush()

    def eof_received(self) -> bool:
        self._stopped.set()
        return True  # what functions return from now on is still wanted

    def connection_lost(self, error: Exception | None) -> None:
        self._stopped.set()
        self._closed.set()

    def _post(self, happened: ExecutionFinished | FunctionMisbehaved | AbortRequested) -> None:
        """Send it with everything else of this turn of the loop, in one write.

        Called on the thread of the loop, also while ``run_to_end`` has it stopped.
        """
        match happened:
            case ExecutionFinished():
                frame = frames.finished_frame(happened)
            case FunctionMisbehaved():
                frame = frames.notice_frame(happened)
            case AbortRequested():
                return  # the loop is closed, and this process ends
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(frame)

    def _write(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()


def describe(error: BaseException) -> str:
    """What is wrong with the user's module, and where, without the secrets that are recognized."""
    text = f"{class_name(error)}: {error_message(error)[:_LONGEST_MESSAGE]}"
    if is_a(error, ConnectError):
        text = str(error)
    elif not is_a(error, SyntaxError):
        called = traceback.extract_tb(error.__traceback__)
        where = [each for each in called if not each.filename.startswith("<")][-1:]
        text += "".join(f" ({each.filename}, line {each.lineno})" for each in where)
    return Redactor().text(text)[:_LONGEST_TEXT]


if __name__ == "__main__":
    sys.exit(main())
