"""``--reload``: a supervisor that runs the worker in a child process and restarts it on a change.

The old worker has drained and ended before the new one is started, so there are never two. A child
that ends without a change, such as after a broken edit, is started again at the next change.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

_PARENT_VARIABLE: Final = "_INNGEST_CONNECT_PARENT"
"""Names the file descriptor on which the child reads the end of the supervisor."""


def supervise(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> int:
    """Run ``command`` until a signal arrives; returns the exit code of the last child."""
    return asyncio.run(_Supervisor(command, directory, environment).run())


def end_with_supervisor() -> None:
    """In the child: shut down as on SIGTERM when the supervisor dies, even by SIGKILL."""
    number = os.environ.pop(_PARENT_VARIABLE, None)
    if number is None:
        return

    def wait() -> None:
        os.read(int(number), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="inngest-connect-supervisor", daemon=True).start()


class _Supervisor:
    """Everything runs on one event loop, signal handlers and the watch included."""

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        self._command = command
        self._directory = directory
        self._environment = environment
        self._wake = asyncio.Event()
        """Set by a change and by a signal: the child has to end."""
        self._signals = 0
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        watcher = asyncio.create_task(self._watch())
        code = 0
        try:
            while not self._signals:
                code = await self._run_child()
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        # A child that has no worker yet dies of the signal, and loses nothing.
        return 0 if code == -signal.SIGTERM else abs(code)

    async def _run_child(self) -> int:
        """Returns the exit code of one child once it has ended and another one is to be started."""
        # Before the child imports anything: a change from now on may be missing in what it imports.
        self._wake.clear()
        with _lifeline() as (descriptor, environment):
            child = self._child = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._environment, **environment},
                pass_fds=(descriptor,),
                # A terminal sends Ctrl-C to the whole group. The child would get it beside the
                # SIGTERM from here, and the second signal stops a worker without draining.
                process_group=0,
            )
            ended = asyncio.create_task(child.wait())
            woken = asyncio.create_task(self._wake.wait())
            await asyncio.wait({ended, woken}, return_when=asyncio.FIRST_COMPLETED)
            if not woken.done():
                _print(f"the worker ended with exit code {ended.result()}; waiting for a change")
                await woken
            if not ended.done():
                child.terminate()
            return await ended

    def _on_signal(self) -> None:
        """The first signal drains the child, the second one stops it, the third one kills it."""
        self._signals += 1
        self._wake.set()
        child = self._child
        if self._signals > 1 and child is not None and child.returncode is None:
            child.terminate() if self._signals == 2 else child.kill()

    async def _watch(self) -> None:
        import watchfiles

        only_python = watchfiles.PythonFilter()
        try:
            async for changes in watchfiles.awatch(self._directory, watch_filter=only_python):
                self._changed(sorted({path for _, path in changes}))
        except (OSError, RuntimeError) as error:
            _print(f"cannot watch {self._directory}: {error}\nRestart by hand after a change.")

    def _changed(self, paths: list[str]) -> None:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        name = os.path.relpath(paths[0], self._directory)
        _print(f"{name}{more} changed, restarting when work in flight is finished")
        self._wake.set()


@contextlib.contextmanager
def _lifeline() -> Iterator[tuple[int, dict[str, str]]]:
    """A pipe whose writing end only this process has, and the variable that names its other end.

    However this process ends, the kernel closes the writing end, and the child reads the end.
    """
    reading, writing = os.pipe()
    try:
        yield reading, {_PARENT_VARIABLE: str(reading)}
    finally:
        os.close(reading)
        os.close(writing)


def _print(text: str) -> None:
    sys.stderr.write(f"inngest-connect: {text}\n")
    sys.stderr.flush()
