"""``--reload``: a supervisor that runs the worker in a child process and restarts it on a change.

The old worker has drained and ended before the new one is started, so there are never two. A child
that ends by itself, such as after a broken edit, is started again at the next change.
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
"""Names the file descriptor that reads to its end when the supervisor is gone."""


def supervise(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> int:
    """Run ``command`` until a signal comes; returns the exit code of the last child."""
    return asyncio.run(_Supervisor(command, directory, environment).run())


def end_with_supervisor() -> None:
    """In the child: shut down as on SIGTERM when the supervisor dies without a word."""
    number = os.environ.pop(_PARENT_VARIABLE, None)
    if number is None:
        return

    def wait() -> None:
        os.read(int(number), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="inngest-connect-supervisor", daemon=True).start()


class _Supervisor:
    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        self._command = command
        self._directory = directory
        self._environment = environment
        self._wake = asyncio.Event()
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
                code = await self._one_life()
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        # A child that has no worker yet dies of the signal, and loses nothing.
        return 0 if code == -signal.SIGTERM else abs(code)

    async def _one_life(self) -> int:
        """Start a child, and see it to its end. Returns its exit code once another is wanted."""
        self._wake.clear()  # what changed until now is in the files that are imported now
        with _lifeline() as (descriptor, environment):
            child = self._child = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._environment, **environment},
                pass_fds=(descriptor,),
                # Ctrl-C reaches a whole group; two signals would end the worker at once.
                process_group=0,
            )
            ended = asyncio.create_task(child.wait())
            woken = asyncio.create_task(self._wake.wait())
            await asyncio.wait({ended, woken}, return_when=asyncio.FIRST_COMPLETED)
            if not woken.done():
                _say(f"the worker ended with exit code {ended.result()}; waiting for a change")
                await woken
            if not ended.done():
                child.terminate()
            return await ended

    def _on_signal(self) -> None:
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
            _say(f"cannot watch {self._directory}: {error}\nRestart by hand after a change.")

    def _changed(self, paths: list[str]) -> None:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        name = os.path.relpath(paths[0], self._directory)
        _say(f"{name}{more} changed, restarting when work in flight is finished")
        self._wake.set()


@contextlib.contextmanager
def _lifeline() -> Iterator[tuple[int, dict[str, str]]]:
    """A pipe whose writing end only this process has, and the variable that tells of it."""
    reading, writing = os.pipe()
    try:
        yield reading, {_PARENT_VARIABLE: str(reading)}
    finally:
        os.close(reading)
        os.close(writing)


def _say(text: str) -> None:
    sys.stderr.write(f"inngest-connect: {text}\n")
    sys.stderr.flush()
